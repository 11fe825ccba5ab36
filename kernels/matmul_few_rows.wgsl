// Matmul NT with one or two rows of A: decoding, where every weight is read for a sum or two
//            c[m,n] = scale * (sum_k A[m,k] B[n,k] + loraScale * sum_r u[m,r] loraB[n,r]) + bias[n]
//
// Shapes     A [M, K], B [N, K], c [M, N], u [M, R], loraB [N, R], row-major, M = ROWS. c's rows lie cStride apart and
//            start at column cStart. K and R are multiples of 4, K of 8 where B is packed. N is any.
// Grid       y: tiles of 16 columns, x: 1. The lanes of a workgroup stand side by side along K: they read rows of B in
//            the order of memory and the same k of A, without any exchange; their sums meet in workgroup memory.
// Entries    main   writes or adds to (params.add) c
// Numerics   sums in f32: a lane takes every WORKGROUP-th four (packed: eight) k, then the lanes are summed.
// Source     C = A B; LoRA: Hu et al. 2021, arXiv:2106.09685, eq. 3.
// Twins      kernels/matmul_few_rows_subgroup.wgsl, lib/ops/matmul.ts, tests/ops/matmul_few_rows_test.ts

const ROWS: u32 = 1u;       // rows of A, 1 or 2
const B_TYPE: u32 = 0u;     // 0 f32, 1 bf16, 2 f16
const WORKGROUP: u32 = 8u;  // a power of two from 8 to 64

struct Params {
  N: u32,
  K: u32,
  R: u32,          // 0: no LoRA term
  hasBias: u32,
  cStride: u32,
  cStart: u32,
  add: u32,
  scale: f32,
  loraScale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;      // [M, K / 4]
@group(0) @binding(2) var<storage, read> b: array<vec4u>;      // [N, K / 4], packed: [N, K / 8]
@group(0) @binding(3) var<storage, read_write> c: array<f32>;  // [M, cStride]
@group(0) @binding(4) var<storage, read> bias: array<f32>;     // [N]; anything when hasBias is 0
@group(0) @binding(5) var<storage, read> u: array<vec4f>;      // [M, R / 4]; anything when R is 0
@group(0) @binding(6) var<storage, read> loraB: array<vec4f>;  // [N, R / 4]; anything when R is 0

// Every lane's sums: [ROWS][4 quads of columns][WORKGROUP].
var<workgroup> staged: array<vec4f, ROWS * 4u * WORKGROUP>;

// A lane's sums of a row of A; element j belongs to columns n0 + 4 j to n0 + 4 j + 3.
alias Sums = array<vec4f, 4>;

// Four or eight k of a row of A.
struct Run {
  low: vec4f,
  high: vec4f,
}

// The same k of four rows of B, a row in each column.
struct Runs {
  low: mat4x4f,
  high: mat4x4f,
}

fn load_a(i: u32) -> Run {
  if (B_TYPE == 0u) {
    return Run(a[i], vec4f());
  }
  return Run(a[2u * i], a[2u * i + 1u]);
}

fn unpack(words: vec2u) -> vec4f {
  if (B_TYPE == 1u) {
    return bitcast<vec4f>(vec4u(words.x << 16u, words.x & 0xffff0000u, words.y << 16u, words.y & 0xffff0000u));
  }
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
}

fn load_b(i: vec4u) -> Runs {
  let b0 = b[i.x];
  let b1 = b[i.y];
  let b2 = b[i.z];
  let b3 = b[i.w];
  if (B_TYPE == 0u) {
    return Runs(mat4x4f(bitcast<vec4f>(b0), bitcast<vec4f>(b1), bitcast<vec4f>(b2), bitcast<vec4f>(b3)), mat4x4f());
  }
  return Runs(
    mat4x4f(unpack(b0.xy), unpack(b1.xy), unpack(b2.xy), unpack(b3.xy)),
    mat4x4f(unpack(b0.zw), unpack(b1.zw), unpack(b2.zw), unpack(b3.zw)),
  );
}

fn product(x: Run, y: Runs) -> vec4f {
  if (B_TYPE == 0u) {
    return x.low * y.low;
  }
  return x.low * y.low + x.high * y.high;
}

fn load_lora(i: vec4u) -> mat4x4f {
  return params.loraScale * mat4x4f(loraB[i.x], loraB[i.y], loraB[i.z], loraB[i.w]);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let n0 = group.y * 16u;
  // Columns past the end read the last row; only the stores tell them apart.
  let last = vec4u(params.N - 1u);
  let n = vec4u(0u, 1u, 2u, 3u) + n0;
  let rows0 = min(n, last);
  let rows1 = min(n + 4u, last);
  let rows2 = min(n + 8u, last);
  let rows3 = min(n + 12u, last);
  var sum0: Sums;
  var sum1: Sums;

  // Four rows of B at a time: more would not stay in registers.
  let runs = params.K / select(8u, 4u, B_TYPE == 0u);
  for (var i = lane; i < runs; i += WORKGROUP) {
    let x0 = load_a(i);
    var x1: Run;
    if (ROWS > 1u) { x1 = load_a(runs + i); }
    let y0 = load_b(rows0 * runs + i);
    sum0[0] += product(x0, y0);
    if (ROWS > 1u) { sum1[0] += product(x1, y0); }
    let y1 = load_b(rows1 * runs + i);
    sum0[1] += product(x0, y1);
    if (ROWS > 1u) { sum1[1] += product(x1, y1); }
    let y2 = load_b(rows2 * runs + i);
    sum0[2] += product(x0, y2);
    if (ROWS > 1u) { sum1[2] += product(x1, y2); }
    let y3 = load_b(rows3 * runs + i);
    sum0[3] += product(x0, y3);
    if (ROWS > 1u) { sum1[3] += product(x1, y3); }
  }
  let quads = params.R / 4u;
  for (var i = lane; i < quads; i += WORKGROUP) {
    let y0 = load_lora(rows0 * quads + i);
    let y1 = load_lora(rows1 * quads + i);
    let y2 = load_lora(rows2 * quads + i);
    let y3 = load_lora(rows3 * quads + i);
    add_lora(&sum0, u[i], y0, y1, y2, y3);
    if (ROWS > 1u) { add_lora(&sum1, u[quads + i], y0, y1, y2, y3); }
  }

  stage(&sum0, lane);
  if (ROWS > 1u) { stage(&sum1, 4u * WORKGROUP + lane); }
  workgroupBarrier();
  // Wide workgroups fold their sums into those of eight lanes first.
  for (var half = WORKGROUP / 2u; half >= 8u; half /= 2u) {
    if (lane < half) {
      for (var i = lane; i < ROWS * 4u * WORKGROUP; i += WORKGROUP) {
        staged[i] += staged[i + half];
      }
    }
    workgroupBarrier();
  }
  if (lane < ROWS * 4u) {
    let i = lane * WORKGROUP;
    let sum = staged[i] + staged[i + 1u] + staged[i + 2u] + staged[i + 3u] +
      staged[i + 4u] + staged[i + 5u] + staged[i + 6u] + staged[i + 7u];
    store(lane / 4u, n0 + lane % 4u * 4u, params.scale * sum);
  }
}

fn add_lora(sum: ptr<function, Sums>, x: vec4f, y0: mat4x4f, y1: mat4x4f, y2: mat4x4f, y3: mat4x4f) {
  (*sum)[0] += x * y0;
  (*sum)[1] += x * y1;
  (*sum)[2] += x * y2;
  (*sum)[3] += x * y3;
}

fn stage(sum: ptr<function, Sums>, i: u32) {
  staged[i] = (*sum)[0];
  staged[i + WORKGROUP] = (*sum)[1];
  staged[i + 2u * WORKGROUP] = (*sum)[2];
  staged[i + 3u * WORKGROUP] = (*sum)[3];
}

fn store(m: u32, n: u32, value: vec4f) {
  let start = m * params.cStride + params.cStart;
  for (var j = n; j < min(n + 4u, params.N); j++) {
    var element = value[j - n];
    if (params.hasBias == 1u) {
      element += bias[j];
    }
    if (params.add == 1u) {
      element += c[start + j];
    }
    c[start + j] = element;
  }
}

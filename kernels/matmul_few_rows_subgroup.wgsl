// Matmul NT with one or two rows of A, for software adapters: decoding, where reading B is nearly all of the work
//            c[m,n] = scale * (sum_k A[m,k] B[n,k] + loraScale * sum_r u[m,r] loraB[n,r]) + bias[n]
//
// Shapes     A [M, K], B [N, K], c [M, N], u [M, R], loraB [N, R], row-major, M = ROWS. c's rows lie cStride apart and
//            start at column cStart. K and R are multiples of 4, K of 8 where B is packed. N is any.
// Grid       y: tiles of 16 columns, x: 1; one subgroup of 8 lanes a workgroup. The lanes stand side by side along K;
//            their sums meet by shuffles.
// Entries    main   writes or adds to (params.add) c
// Numerics   sums in f32: a lane takes every eighth four (packed: eight) k, then the lanes are summed.
// Needs      subgroups of exactly 8 lanes.
// Source     C = A B; LoRA: Hu et al. 2021, arXiv:2106.09685, eq. 3.
// Twins      kernels/matmul_few_rows.wgsl, lib/ops/matmul.ts, tests/ops/matmul_few_rows_test.ts

const ROWS: u32 = 1u;    // rows of A, 1 or 2
const B_TYPE: u32 = 0u;  // 0 f32, 1 bf16, 2 f16

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

const LANES: u32 = 8u;
const LINE: u32 = 4u;  // elements of b in a line of the processor's cache (64 bytes)

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

// The same k of every row of A, and a lane's sums of four columns by row of A.
alias Inputs = array<Run, 2>;
alias Sums = array<vec4f, 2>;

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

fn load_lora(i: vec4u) -> Runs {
  return Runs(params.loraScale * mat4x4f(loraB[i.x], loraB[i.y], loraB[i.z], loraB[i.w]), mat4x4f());
}

fn product(x: Run, y: Runs) -> vec4f {
  if (B_TYPE == 0u) {
    return x.low * y.low;
  }
  return x.low * y.low + x.high * y.high;
}

fn accumulate(sum: ptr<function, Sums>, x: Inputs, y: Runs) {
  (*sum)[0] += product(x[0], y);
  if (ROWS > 1u) { (*sum)[1] += product(x[1], y); }
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let n0 = group.y * 16u;
  let runs = params.K / select(8u, 4u, B_TYPE == 0u);
  // The loop below takes the rows of B side by side, which no processor foresees, and each of its loads would wait for
  // memory. So one word of every line is read first, in the order of memory.
  var touched = 0u;
  let end = min(n0 + 16u, params.N) * runs;
  for (var i = n0 * runs + LINE * lane; i < end; i += LINE * LANES) {
    touched |= b[i].x;
  }
  // N is never 0, which the compiler does not know: it would leave out loads whose words nobody uses.
  if (params.N == 0u) {
    c[0] = bitcast<f32>(touched);
  }

  // Columns past the end read the last row; only the stores tell them apart.
  let last = vec4u(params.N - 1u);
  let rows0 = min(vec4u(0u, 1u, 2u, 3u) + n0, last);
  let rows1 = min(vec4u(4u, 5u, 6u, 7u) + n0, last);
  let rows2 = min(vec4u(8u, 9u, 10u, 11u) + n0, last);
  let rows3 = min(vec4u(12u, 13u, 14u, 15u) + n0, last);
  var sum0: Sums;
  var sum1: Sums;
  var sum2: Sums;
  var sum3: Sums;
  var x: Inputs;
  for (var i = lane; i < runs; i += LANES) {
    x[0] = load_a(i);
    if (ROWS > 1u) { x[1] = load_a(runs + i); }
    accumulate(&sum0, x, load_b(rows0 * runs + i));
    accumulate(&sum1, x, load_b(rows1 * runs + i));
    accumulate(&sum2, x, load_b(rows2 * runs + i));
    accumulate(&sum3, x, load_b(rows3 * runs + i));
  }
  let quads = params.R / 4u;
  for (var i = lane; i < quads; i += LANES) {
    x[0] = Run(u[i], vec4f());
    if (ROWS > 1u) { x[1] = Run(u[quads + i], vec4f()); }
    accumulate(&sum0, x, load_lora(rows0 * quads + i));
    accumulate(&sum1, x, load_lora(rows1 * quads + i));
    accumulate(&sum2, x, load_lora(rows2 * quads + i));
    accumulate(&sum3, x, load_lora(rows3 * quads + i));
  }

  finish(0u, n0, lane, mat4x4f(sum0[0], sum1[0], sum2[0], sum3[0]));
  if (ROWS > 1u) { finish(1u, n0, lane, mat4x4f(sum0[1], sum1[1], sum2[1], sum3[1])); }
}

// The sum over the lanes, in every lane.
fn fold(x: vec4f) -> vec4f {
  let pairs = x + subgroupShuffleXor(x, 1u);
  let fours = pairs + subgroupShuffleXor(pairs, 2u);
  return fours + subgroupShuffleXor(fours, 4u);
}

// Each lane stores two of the 16 columns of row m.
fn finish(m: u32, n0: u32, lane: u32, sums: mat4x4f) {
  let quad = lane / 2u;
  let first = select(fold(sums[0]), fold(sums[1]), quad == 1u);
  let second = select(fold(sums[2]), fold(sums[3]), quad == 3u);
  let sum = select(first, second, quad > 1u);
  let value = params.scale * select(sum.xy, sum.zw, lane % 2u == 1u);
  store(m, n0 + 2u * lane, value.x);
  store(m, n0 + 2u * lane + 1u, value.y);
}

fn store(m: u32, n: u32, value: f32) {
  if (n < params.N) {
    let i = m * params.cStride + params.cStart + n;
    var element = value;
    if (params.hasBias == 1u) {
      element += bias[n];
    }
    if (params.add == 1u) {
      element += c[i];
    }
    c[i] = element;
  }
}

// Matmul NN and TN by subgroup broadcast, for software adapters, where a load costs as much as 60 multiplications
//            c[m,n] = scale * (sum_k A[m,k] B[k,n] + loraScale * sum_r u[m,r] loraB[r,n]) + bias[n]
//
// Shapes     A [M, K], in TN stored [K, M]; B [K, N], c [M, N], u [M, R], loraB [R, N] (NN only), row-major. N is a
//            multiple of 4, of 8 where B is packed; c's rows lie cStride apart and start at column cStart, multiples
//            of 4. NN: K and R are multiples of 4, M is any; TN: M is a multiple of 4, K is any.
// Grid       x: tiles of 32 columns (packed: 64), y: tiles of 32 rows (packed: 16), so that workgroups that follow
//            each other share A's tile; one subgroup of 8 lanes a workgroup. A lane loads 4 or 8 neighbouring columns
//            of B, and of A (NN) row `lane` of each 8 rows, four k; (TN) four rows of one k. Each row is then
//            broadcast by shuffles from literal lanes.
// Entries    main   writes or adds to (params.add) c
// Numerics   sums in f32, four k at a time.
// Needs      subgroups of exactly 8 lanes.
// Source     C = A B; LoRA: Hu et al. 2021, arXiv:2106.09685, eq. 3.
// Twins      kernels/matmul.wgsl, lib/ops/matmul.ts, tests/ops/matmul_test.ts

const TN: u32 = 0u;      // 1: A is stored [K, M]
const B_TYPE: u32 = 0u;  // 0 f32, 1 bf16, 2 f16
const PACKED = B_TYPE != 0u;
const TILE_M = select(32u, 16u, PACKED);

struct Params {
  M: u32,
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
@group(0) @binding(1) var<storage, read> a: array<vec4f>;        // [M, K / 4] or [K, M / 4]
@group(0) @binding(2) var<storage, read> b: array<vec4u>;        // [K, N / 4], packed: [K, N / 8]
@group(0) @binding(3) var<storage, read_write> c: array<vec4f>;  // [M, cStride / 4]
@group(0) @binding(4) var<storage, read> bias: array<vec4f>;     // [N / 4]; anything when hasBias is 0
@group(0) @binding(5) var<storage, read> u: array<vec4f>;        // [M, R / 4]; anything when R is 0
@group(0) @binding(6) var<storage, read> loraB: array<vec4f>;    // [R, N / 4]; anything when R is 0

// Sums of 8 rows, four columns a lane.
alias Rows = array<vec4f, 8>;

// The sums on their way out, each lane its own: [4 blocks][8 rows][lane].
var<workgroup> staged: array<vec4f, 256>;

// Four k of row `row` of the 8 rows in a4; b4's column i is B's row k + i.
fn broadcast(a4: vec4f, row: u32) -> vec4f {
  if (TN == 0u) {
    return subgroupShuffle(a4, row);
  }
  // Lane 2 k + row / 4 holds rows 4 (row / 4) to 4 (row / 4) + 3 of k.
  let from_lane = row >> 2u;
  let value = a4[row & 3u];
  return vec4f(
    subgroupShuffle(value, from_lane),
    subgroupShuffle(value, from_lane + 2u),
    subgroupShuffle(value, from_lane + 4u),
    subgroupShuffle(value, from_lane + 6u),
  );
}

fn add4(sum: ptr<function, Rows>, a4: vec4f, b4: mat4x4f) {
  (*sum)[0] += b4 * broadcast(a4, 0u);
  (*sum)[1] += b4 * broadcast(a4, 1u);
  (*sum)[2] += b4 * broadcast(a4, 2u);
  (*sum)[3] += b4 * broadcast(a4, 3u);
  (*sum)[4] += b4 * broadcast(a4, 4u);
  (*sum)[5] += b4 * broadcast(a4, 5u);
  (*sum)[6] += b4 * broadcast(a4, 6u);
  (*sum)[7] += b4 * broadcast(a4, 7u);
}

fn unpack(words: vec2u) -> vec4f {
  if (B_TYPE == 1u) {
    return bitcast<vec4f>(vec4u(words.x << 16u, words.x & 0xffff0000u, words.y << 16u, words.y & 0xffff0000u));
  }
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let m0 = group.y * TILE_M;
  // Vectors of columns: four in f32, eight where packed.
  let vectors = params.N / select(4u, 8u, PACKED);
  let v = group.x * 8u + lane;
  let bColumn = min(v, vectors - 1u);
  // Rows past the end read the last ones; only the stores tell them apart.
  let rows = min(vec4u(m0, m0 + 8u, m0 + 16u, m0 + 24u) + lane, vec4u(params.M - 1u));
  let quads = min(vec4u(m0 / 4u) + vec4u(0u, 2u, 4u, 6u) + (lane & 1u), vec4u(params.M / 4u - 1u));
  // In f32 the sums are four blocks of rows; where packed, two blocks of rows by two halves of columns.
  var sum0: Rows;
  var sum1: Rows;
  var sum2: Rows;
  var sum3: Rows;

  let last = params.K - 1u;
  // In NN, K is a multiple of four and nothing has to be clamped: indices are counted up.
  var ai = rows * (params.K / 4u);
  var bi = vec4u(0u, 1u, 2u, 3u) * vectors + bColumn;
  for (var k = 0u; k < params.K; k += 4u) {
    var live = 1.0;
    if (TN == 1u) {
      bi = min(vec4u(k) + vec4u(0u, 1u, 2u, 3u), vec4u(last)) * vectors + bColumn;
      let aRow = k + (lane >> 1u);
      ai = quads + min(aRow, last) * (params.M / 4u);
      live = select(0.0, 1.0, aRow <= last);  // past the end of K, A counts as zero
    }
    let b0 = b[bi.x];
    let b1 = b[bi.y];
    let b2 = b[bi.z];
    let b3 = b[bi.w];
    if (PACKED) {
      let bLow = mat4x4f(unpack(b0.xy), unpack(b1.xy), unpack(b2.xy), unpack(b3.xy));
      let bHigh = mat4x4f(unpack(b0.zw), unpack(b1.zw), unpack(b2.zw), unpack(b3.zw));
      let a0 = live * a[ai.x];
      let a1 = live * a[ai.y];
      add4(&sum0, a0, bLow);
      add4(&sum1, a0, bHigh);
      add4(&sum2, a1, bLow);
      add4(&sum3, a1, bHigh);
    } else {
      let b4 = mat4x4f(bitcast<vec4f>(b0), bitcast<vec4f>(b1), bitcast<vec4f>(b2), bitcast<vec4f>(b3));
      add4(&sum0, live * a[ai.x], b4);
      add4(&sum1, live * a[ai.y], b4);
      add4(&sum2, live * a[ai.z], b4);
      add4(&sum3, live * a[ai.w], b4);
    }
    if (TN == 0u) {
      ai += 1u;
      bi += 4u * vectors;
    }
  }

  if (TN == 0u) {
    let stride = params.N / 4u;
    for (var r = 0u; r < params.R; r += 4u) {
      let ui = rows * (params.R / 4u) + r / 4u;
      if (PACKED) {
        let li = r * stride + 2u * bColumn;
        let bLow = lora_matrix(li, stride);
        let bHigh = lora_matrix(li + 1u, stride);
        add4(&sum0, u[ui.x], bLow);
        add4(&sum1, u[ui.x], bHigh);
        add4(&sum2, u[ui.y], bLow);
        add4(&sum3, u[ui.y], bHigh);
      } else {
        let b4 = lora_matrix(r * stride + bColumn, stride);
        add4(&sum0, u[ui.x], b4);
        add4(&sum1, u[ui.y], b4);
        add4(&sum2, u[ui.z], b4);
        add4(&sum3, u[ui.w], b4);
      }
    }
  }

  // Registers cannot be indexed, and stores written out for every row would take most of a second to compile.
  stage(&sum0, lane);
  stage(&sum1, 64u + lane);
  stage(&sum2, 128u + lane);
  stage(&sum3, 192u + lane);
  if (v < vectors) {
    for (var i = 0u; i < min(TILE_M, params.M - m0); i++) {
      if (PACKED) {
        let from_row = (i >> 3u) * 128u + (i & 7u) * 8u + lane;
        store(m0 + i, 2u * v, staged[from_row]);
        store(m0 + i, 2u * v + 1u, staged[from_row + 64u]);
      } else {
        store(m0 + i, v, staged[i * 8u + lane]);
      }
    }
  }
}

fn lora_matrix(i: u32, stride: u32) -> mat4x4f {
  return params.loraScale *
    mat4x4f(loraB[i], loraB[i + stride], loraB[i + 2u * stride], loraB[i + 3u * stride]);
}

fn stage(sum: ptr<function, Rows>, i: u32) {
  staged[i] = (*sum)[0];
  staged[i + 8u] = (*sum)[1];
  staged[i + 16u] = (*sum)[2];
  staged[i + 24u] = (*sum)[3];
  staged[i + 32u] = (*sum)[4];
  staged[i + 40u] = (*sum)[5];
  staged[i + 48u] = (*sum)[6];
  staged[i + 56u] = (*sum)[7];
}

fn store(m: u32, n4: u32, sum: vec4f) {
  let i = (m * params.cStride + params.cStart) / 4u + n4;
  var value = params.scale * sum;
  if (params.hasBias == 1u) {
    value += bias[n4];
  }
  if (params.add == 1u) {
    value += c[i];
  }
  c[i] = value;
}

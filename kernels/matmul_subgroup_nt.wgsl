// Matmul NT by subgroup broadcast, for software adapters, where a load costs as much as 60 multiplications
//            c[m,n] = scale * (sum_k A[m,k] B[n,k] + loraScale * sum_r u[m,r] loraB[n,r]) + bias[n]
//
// Shapes     A [M, K], B [N, K], c [M, N], u [M, R], loraB [N, R], row-major. c's rows lie cStride apart and start at
//            column cStart. K and R are multiples of 4, K of 8 where B is packed. M and N are any.
// Grid       x: tiles of 8 RA rows, y: tiles of 32 columns; one subgroup of 8 lanes a workgroup. A lane loads row
//            `lane` of each 8 rows of A and column `lane` of each 8 columns of B, every element once; then each row is
//            broadcast to all lanes by a shuffle from a literal lane, which is one instruction.
// Entries    main   writes or adds to (params.add) c
// Numerics   sums in f32, four or eight k at a time.
// Needs      subgroups of exactly 8 lanes.
// Source     C = A B; LoRA: Hu et al. 2021, arXiv:2106.09685, eq. 3.
// Twins      kernels/matmul.wgsl, lib/ops/matmul.ts, tests/ops/matmul_test.ts

const RA: u32 = 3u;      // blocks of 8 rows, 1 to 3
const B_TYPE: u32 = 0u;  // 0 f32, 1 bf16, 2 f16

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
@group(0) @binding(1) var<storage, read> a: array<vec4f>;      // [M, K / 4]
@group(0) @binding(2) var<storage, read> b: array<vec4u>;      // [N, K / 4], packed: [N, K / 8]
@group(0) @binding(3) var<storage, read_write> c: array<f32>;  // [M, cStride]
@group(0) @binding(4) var<storage, read> bias: array<f32>;     // [N]; anything when hasBias is 0
@group(0) @binding(5) var<storage, read> u: array<vec4f>;      // [M, R / 4]; anything when R is 0
@group(0) @binding(6) var<storage, read> loraB: array<vec4f>;  // [N, R / 4]; anything when R is 0

// The sums on their way out, each lane its own: [8 RA rows][lane].
var<workgroup> staged: array<vec4f, 64u * RA>;

// Element j of a row's sum belongs to column n0 + 8 j + lane.
alias Rows = array<vec4f, 8>;

fn add4(sum: ptr<function, Rows>, a4: vec4f, b4: mat4x4f) {
  (*sum)[0] += subgroupShuffle(a4, 0u) * b4;
  (*sum)[1] += subgroupShuffle(a4, 1u) * b4;
  (*sum)[2] += subgroupShuffle(a4, 2u) * b4;
  (*sum)[3] += subgroupShuffle(a4, 3u) * b4;
  (*sum)[4] += subgroupShuffle(a4, 4u) * b4;
  (*sum)[5] += subgroupShuffle(a4, 5u) * b4;
  (*sum)[6] += subgroupShuffle(a4, 6u) * b4;
  (*sum)[7] += subgroupShuffle(a4, 7u) * b4;
}

// Eight k at a time: one row's sums stay in registers for all of them.
fn add8(sum: ptr<function, Rows>, low: vec4f, high: vec4f, bLow: mat4x4f, bHigh: mat4x4f) {
  (*sum)[0] += subgroupShuffle(low, 0u) * bLow + subgroupShuffle(high, 0u) * bHigh;
  (*sum)[1] += subgroupShuffle(low, 1u) * bLow + subgroupShuffle(high, 1u) * bHigh;
  (*sum)[2] += subgroupShuffle(low, 2u) * bLow + subgroupShuffle(high, 2u) * bHigh;
  (*sum)[3] += subgroupShuffle(low, 3u) * bLow + subgroupShuffle(high, 3u) * bHigh;
  (*sum)[4] += subgroupShuffle(low, 4u) * bLow + subgroupShuffle(high, 4u) * bHigh;
  (*sum)[5] += subgroupShuffle(low, 5u) * bLow + subgroupShuffle(high, 5u) * bHigh;
  (*sum)[6] += subgroupShuffle(low, 6u) * bLow + subgroupShuffle(high, 6u) * bHigh;
  (*sum)[7] += subgroupShuffle(low, 7u) * bLow + subgroupShuffle(high, 7u) * bHigh;
}

fn unpack(words: vec2u) -> vec4f {
  if (B_TYPE == 1u) {
    return bitcast<vec4f>(vec4u(words.x << 16u, words.x & 0xffff0000u, words.y << 16u, words.y & 0xffff0000u));
  }
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let m0 = group.x * 8u * RA;
  let n0 = group.y * 32u;
  // Rows and columns past the end read the last one; only the stores tell them apart.
  let m = min(vec3u(m0, m0 + 8u, m0 + 16u) + lane, vec3u(params.M - 1u));
  let n = min(vec4u(n0, n0 + 8u, n0 + 16u, n0 + 24u) + lane, vec4u(params.N - 1u));
  var sum0: Rows;
  var sum1: Rows;
  var sum2: Rows;

  let steps = select(params.K / 8u, params.K / 4u, B_TYPE == 0u);
  var ai = m * (params.K / 4u);
  var bi = n * steps;
  for (var step = 0u; step < steps; step++) {
    let b0 = b[bi.x];
    let b1 = b[bi.y];
    let b2 = b[bi.z];
    let b3 = b[bi.w];
    bi += 1u;
    if (B_TYPE == 0u) {
      let b4 = mat4x4f(bitcast<vec4f>(b0), bitcast<vec4f>(b1), bitcast<vec4f>(b2), bitcast<vec4f>(b3));
      add4(&sum0, a[ai.x], b4);
      if (RA > 1u) { add4(&sum1, a[ai.y], b4); }
      if (RA > 2u) { add4(&sum2, a[ai.z], b4); }
      ai += 1u;
    } else {
      let bLow = mat4x4f(unpack(b0.xy), unpack(b1.xy), unpack(b2.xy), unpack(b3.xy));
      let bHigh = mat4x4f(unpack(b0.zw), unpack(b1.zw), unpack(b2.zw), unpack(b3.zw));
      add8(&sum0, a[ai.x], a[ai.x + 1u], bLow, bHigh);
      if (RA > 1u) { add8(&sum1, a[ai.y], a[ai.y + 1u], bLow, bHigh); }
      if (RA > 2u) { add8(&sum2, a[ai.z], a[ai.z + 1u], bLow, bHigh); }
      ai += 2u;
    }
  }

  let rank4 = params.R / 4u;
  for (var r = 0u; r < rank4; r++) {
    let i = n * rank4 + r;
    let b4 = params.loraScale * mat4x4f(loraB[i.x], loraB[i.y], loraB[i.z], loraB[i.w]);
    let j = m * rank4 + r;
    add4(&sum0, u[j.x], b4);
    if (RA > 1u) { add4(&sum1, u[j.y], b4); }
    if (RA > 2u) { add4(&sum2, u[j.z], b4); }
  }

  var offset = vec4f();
  if (params.hasBias == 1u) {
    offset = vec4f(bias[n.x], bias[n.y], bias[n.z], bias[n.w]);
  }
  // Registers cannot be indexed, and stores written out for every row would take most of a second to compile.
  stage(&sum0, lane);
  if (RA > 1u) { stage(&sum1, 64u + lane); }
  if (RA > 2u) { stage(&sum2, 128u + lane); }
  let rows = min(8u * RA, params.M - m0);
  for (var i = 0u; i < rows; i++) {
    let value = params.scale * staged[i * 8u + lane] + offset;
    let start = (m0 + i) * params.cStride + params.cStart;
    store(start, n0 + lane, value.x);
    store(start, n0 + 8u + lane, value.y);
    store(start, n0 + 16u + lane, value.z);
    store(start, n0 + 24u + lane, value.w);
  }
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

fn store(start: u32, n: u32, value: f32) {
  if (n < params.N) {
    if (params.add == 1u) {
      c[start + n] += value;
    } else {
      c[start + n] = value;
    }
  }
}

// Matmul by tiles in workgroup memory, for GPUs
//            c[m,n] = scale * (sum_k A[m,k] B[k,n] + loraScale * sum_r u[m,r] loraB[r,n]) + bias[n]
//
// Shapes     A [M, K], in TN stored [K, M]; B [K, N], in NT stored [N, K]; u [M, R], loraB like B; row-major. What is
//            contiguous in A, B, u and loraB is a multiple of 4, the other dimensions any. c's rows lie cStride apart
//            and start at column cStart.
// Grid       x: tiles of BN columns, y: tiles of BM rows, z: SPLIT parts of K, each with a c of its own, one after the
//            other, for matmul_sum.wgsl. Each step copies BK k of A and B into workgroup memory, k
//            outermost; a thread computes TM x TN elements in 4 x 4 blocks that lie apart, so that neighbouring threads
//            read neighbouring vectors.
// Entries    main     B f32           writes or adds to (params.add) c
//            packed   B bf16 or f16   writes or adds to (params.add) c
// Numerics   sums in f32, in the order of k.
// Source     Volkov & Demmel 2008, "Benchmarking GPUs to tune dense linear algebra"; LoRA: Hu et al. 2021,
//            arXiv:2106.09685, eq. 3.
// Twins      kernels/matmul.wgsl, lib/ops/matmul.ts, tests/ops/matmul_test.ts

const LAYOUT: u32 = 0u;  // 0 NT, 1 NN, 2 TN
const B_TYPE: u32 = 0u;  // 0 f32, 1 bf16, 2 f16
const BM: u32 = 64u;
const BN: u32 = 64u;
const BK: u32 = 16u;     // a multiple of 4
const TM: u32 = 8u;      // 4 or 8
const TN: u32 = 4u;      // 4 or 8
const SPLIT: u32 = 1u;   // parts of K, one a layer of workgroups

const THREADS_X = BN / TN;
const THREADS_Y = BM / TM;
const THREADS = THREADS_X * THREADS_Y;
const A_ROW = BM / 4u;   // vectors of one k in A's part of the tile
const B_ROW = BN / 4u;
const B_START = BK * A_ROW;
const QUADS = BK / 4u;
const STEP = BK * SPLIT;

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
@group(0) @binding(1) var<storage, read> a: array<vec4f>;        // A
@group(0) @binding(2) var<storage, read> b: array<vec4f>;        // B, entry main
@group(0) @binding(3) var<storage, read_write> c: array<f32>;    // [M, cStride]
@group(0) @binding(4) var<storage, read> bias: array<f32>;       // [N]; anything when hasBias is 0
@group(0) @binding(5) var<storage, read> u: array<vec4f>;        // [M, R / 4]; anything when R is 0
@group(0) @binding(6) var<storage, read> loraB: array<vec4f>;    // like B; anything when R is 0
@group(0) @binding(7) var<storage, read> bPacked: array<vec2u>;  // B, entry packed

// A's part [BK][BM / 4], then B's part [BK][BN / 4].
var<workgroup> tile: array<vec4f, BK * (BM + BN) / 4u>;

// The 4 x 4 blocks of a thread; column i of a matrix is row i of a block.
struct Sums {
  c00: mat4x4f,
  c01: mat4x4f,
  c10: mat4x4f,
  c11: mat4x4f,
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  var sums: Sums;
  let part = (params.K + STEP - 1u) / STEP * BK;
  for (var k0 = group.z * part; k0 < min(params.K, (group.z + 1u) * part); k0 += BK) {
    copy_a(group.y * BM, k0, thread);
    for (var e = thread; e < BK * B_ROW; e += THREADS) {
      let from_b = place_b(e, group.x * BN, k0, params.K);
      put_b(e, select(vec4f(), b[from_b.x], from_b.y == 1u));
    }
    workgroupBarrier();
    multiply(&sums, thread);
    workgroupBarrier();
  }
  finish(&sums, group, thread);
}

@compute @workgroup_size(THREADS)
fn packed(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  var sums: Sums;
  let part = (params.K + STEP - 1u) / STEP * BK;
  for (var k0 = group.z * part; k0 < min(params.K, (group.z + 1u) * part); k0 += BK) {
    copy_a(group.y * BM, k0, thread);
    for (var e = thread; e < BK * B_ROW; e += THREADS) {
      let from_b = place_b(e, group.x * BN, k0, params.K);
      put_b(e, select(vec4f(), unpack(bPacked[from_b.x]), from_b.y == 1u));
    }
    workgroupBarrier();
    multiply(&sums, thread);
    workgroupBarrier();
  }
  finish(&sums, group, thread);
}

fn unpack(words: vec2u) -> vec4f {
  if (B_TYPE == 1u) {
    return bitcast<vec4f>(vec4u(words.x << 16u, words.x & 0xffff0000u, words.y << 16u, words.y & 0xffff0000u));
  }
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
}

// Where element e of a tile lies whose rows are contiguous in k: its vector, and 1 if k is below `depth`.
// Rows past the end read the last one; only the stores tell them apart.
fn place_rows(e: u32, row0: u32, rows: u32, k0: u32, depth: u32) -> vec2u {
  let quad = k0 / 4u + e % QUADS;
  let row = min(row0 + e / QUADS, rows - 1u);
  return vec2u(row * (depth / 4u) + min(quad, depth / 4u - 1u), select(0u, 1u, quad < depth / 4u));
}

// The same for a tile whose columns are contiguous, `width` vectors of them a tile.
fn place_columns(e: u32, width: u32, column0: u32, columns: u32, k0: u32, depth: u32) -> vec2u {
  let k = k0 + e / width;
  let column = min(column0 / 4u + e % width, columns / 4u - 1u);
  return vec2u(min(k, depth - 1u) * (columns / 4u) + column, select(0u, 1u, k < depth));
}

fn place_b(e: u32, n0: u32, k0: u32, depth: u32) -> vec2u {
  if (LAYOUT == 0u) {
    return place_rows(e, n0, params.N, k0, depth);
  }
  return place_columns(e, B_ROW, n0, params.N, k0, depth);
}

fn put_b(e: u32, value: vec4f) {
  if (LAYOUT == 0u) {
    put_transposed(B_START, B_ROW, e, value);
  } else {
    tile[B_START + e] = value;
  }
}

// Four k of one row: one component of four vectors.
fn put_transposed(start: u32, width: u32, e: u32, value: vec4f) {
  let row = e / QUADS;
  let i = start + e % QUADS * 4u * width + row / 4u;
  tile[i][row % 4u] = value.x;
  tile[i + width][row % 4u] = value.y;
  tile[i + 2u * width][row % 4u] = value.z;
  tile[i + 3u * width][row % 4u] = value.w;
}

fn copy_a(m0: u32, k0: u32, thread: u32) {
  for (var e = thread; e < BK * A_ROW; e += THREADS) {
    if (LAYOUT == 2u) {
      let from_a = place_columns(e, A_ROW, m0, params.M, k0, params.K);
      tile[e] = select(vec4f(), a[from_a.x], from_a.y == 1u);
    } else {
      let from_a = place_rows(e, m0, params.M, k0, params.K);
      put_transposed(0u, A_ROW, e, select(vec4f(), a[from_a.x], from_a.y == 1u));
    }
  }
}

fn outer(a4: vec4f, b4: vec4f) -> mat4x4f {
  return mat4x4f(a4.x * b4, a4.y * b4, a4.z * b4, a4.w * b4);
}

fn multiply(sums: ptr<function, Sums>, thread: u32) {
  for (var k = 0u; k < BK; k += 4u) {
    multiply_one(sums, thread, k);
    multiply_one(sums, thread, k + 1u);
    multiply_one(sums, thread, k + 2u);
    multiply_one(sums, thread, k + 3u);
  }
}

fn multiply_one(sums: ptr<function, Sums>, thread: u32, k: u32) {
  let ai = k * A_ROW + thread / THREADS_X;
  let bi = B_START + k * B_ROW + thread % THREADS_X;
  let a0 = tile[ai];
  let b0 = tile[bi];
  (*sums).c00 += outer(a0, b0);
  if (TN > 4u) {
    (*sums).c01 += outer(a0, tile[bi + THREADS_X]);
  }
  if (TM > 4u) {
    let a1 = tile[ai + THREADS_Y];
    (*sums).c10 += outer(a1, b0);
    if (TN > 4u) {
      (*sums).c11 += outer(a1, tile[bi + THREADS_X]);
    }
  }
}

// Adds the low-rank term and stores.
fn finish(sums: ptr<function, Sums>, group: vec3u, thread: u32) {
  let m0 = group.y * BM;
  let n0 = group.x * BN;
  for (var k0 = 0u; k0 < params.R; k0 += BK) {
    for (var e = thread; e < BK * A_ROW; e += THREADS) {
      let from_u = place_rows(e, m0, params.M, k0, params.R);
      put_transposed(0u, A_ROW, e, select(vec4f(), u[from_u.x], from_u.y == 1u));
    }
    for (var e = thread; e < BK * B_ROW; e += THREADS) {
      let from_b = place_b(e, n0, k0, params.R);
      put_b(e, select(vec4f(), params.loraScale * loraB[from_b.x], from_b.y == 1u));
    }
    workgroupBarrier();
    multiply(sums, thread);
    workgroupBarrier();
  }
  let m = m0 + thread / THREADS_X * 4u;
  let n = n0 + thread % THREADS_X * 4u;
  let start = params.cStart + group.z * params.M * params.cStride;
  store_block((*sums).c00, start, m, n);
  if (TN > 4u) { store_block((*sums).c01, start, m, n + 4u * THREADS_X); }
  if (TM > 4u) { store_block((*sums).c10, start, m + 4u * THREADS_Y, n); }
  if (TM > 4u && TN > 4u) { store_block((*sums).c11, start, m + 4u * THREADS_Y, n + 4u * THREADS_X); }
}

fn store_block(block: mat4x4f, start: u32, m: u32, n: u32) {
  var offset = vec4f();
  if (params.hasBias == 1u && n < params.N) {
    let last = params.N - 1u;
    offset = vec4f(bias[n], bias[min(n + 1u, last)], bias[min(n + 2u, last)], bias[min(n + 3u, last)]);
  }
  store(block[0], start, m, n, offset);
  store(block[1], start, m + 1u, n, offset);
  store(block[2], start, m + 2u, n, offset);
  store(block[3], start, m + 3u, n, offset);
}

fn store(sum: vec4f, start: u32, m: u32, n: u32, offset: vec4f) {
  if (m < params.M) {
    let value = params.scale * sum + offset;
    let row = start + m * params.cStride;
    store_one(row, n, value.x);
    store_one(row, n + 1u, value.y);
    store_one(row, n + 2u, value.z);
    store_one(row, n + 3u, value.w);
  }
}

fn store_one(row: u32, n: u32, value: f32) {
  if (n < params.N) {
    if (params.add == 1u) {
      c[row + n] += value;
    } else {
      c[row + n] = value;
    }
  }
}

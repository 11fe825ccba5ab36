// Matmul     c[m,n] = scale * (sum_k A[m,k] B[k,n] + loraScale * sum_r u[m,r] loraB[r,n]) + bias[n]
//            The plain kernel: any size, any layout, any dtype of B. The others must agree with it.
//
// Shapes     A [M, K], B [K, N], c [M, N], u [M, R], loraB [R, N], each found through two strides, so that one
//            entry serves NT (B stored [N, K]), NN and TN (A stored [K, M]). c's rows lie cStride apart and start at
//            column cStart. B is f32, or bf16 / f16 packed two to a u32.
// Grid       x: tiles of 32 columns, y: tiles of 32 rows; one thread computes 4 x 4 elements.
// Entries    main   writes or adds to (params.add) c
// Numerics   sums in f32, in the order of k.
// Source     C = A B; LoRA: Hu et al. 2021, arXiv:2106.09685, eq. 3.
// Twins      lib/ops/matmul.ts, tests/ops/matmul_test.ts

struct Params {
  M: u32,
  N: u32,
  K: u32,
  R: u32,          // 0: no LoRA term
  aRow: u32,       // elements from A[m,k] to A[m+1,k]
  aStep: u32,      // elements from A[m,k] to A[m,k+1]
  bColumn: u32,    // elements from B[k,n] to B[k,n+1]
  bStep: u32,
  loraColumn: u32,
  loraStep: u32,
  bType: u32,      // 0 f32, 1 bf16, 2 f16
  hasBias: u32,
  cStride: u32,
  cStart: u32,
  add: u32,
  scale: f32,
  loraScale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;        // A
@group(0) @binding(2) var<storage, read> b: array<u32>;        // B, words
@group(0) @binding(3) var<storage, read_write> c: array<f32>;  // [M, cStride]
@group(0) @binding(4) var<storage, read> bias: array<f32>;     // [N]; anything when hasBias is 0
@group(0) @binding(5) var<storage, read> u: array<f32>;        // [M, R]; anything when R is 0
@group(0) @binding(6) var<storage, read> loraB: array<f32>;    // anything when R is 0

// One load and no branch: a branch around a load costs more here than the arithmetic of all three types.
fn b_value(i: u32) -> f32 {
  let word = b[select(i >> 1u, i, params.bType == 0u)];
  let odd = (i & 1u) == 1u;
  let brain = bitcast<f32>(select(word << 16u, word & 0xffff0000u, odd));
  let halves = unpack2x16float(word);
  let packed = select(brain, select(halves.x, halves.y, odd), params.bType == 2u);
  return select(packed, bitcast<f32>(word), params.bType == 0u);
}

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let m0 = id.y * 4u;
  let n0 = id.x * 4u;
  if (m0 >= params.M || n0 >= params.N) {
    return;
  }
  // Rows and columns past the end read the last one; only the stores tell them apart.
  let m = min(vec4u(m0, m0 + 1u, m0 + 2u, m0 + 3u), vec4u(params.M - 1u));
  let n = min(vec4u(n0, n0 + 1u, n0 + 2u, n0 + 3u), vec4u(params.N - 1u));
  var sum0 = vec4f();
  var sum1 = vec4f();
  var sum2 = vec4f();
  var sum3 = vec4f();
  var ai = m * params.aRow;
  var bi = n * params.bColumn;
  for (var k = 0u; k < params.K; k++) {
    let column = vec4f(b_value(bi.x), b_value(bi.y), b_value(bi.z), b_value(bi.w));
    sum0 += a[ai.x] * column;
    sum1 += a[ai.y] * column;
    sum2 += a[ai.z] * column;
    sum3 += a[ai.w] * column;
    ai += vec4u(params.aStep);
    bi += vec4u(params.bStep);
  }
  var ui = m * params.R;
  var li = n * params.loraColumn;
  for (var k = 0u; k < params.R; k++) {
    let column = params.loraScale * vec4f(loraB[li.x], loraB[li.y], loraB[li.z], loraB[li.w]);
    sum0 += u[ui.x] * column;
    sum1 += u[ui.y] * column;
    sum2 += u[ui.z] * column;
    sum3 += u[ui.w] * column;
    ui += vec4u(1u);
    li += vec4u(params.loraStep);
  }
  store(m0, n0, sum0);
  store(m0 + 1u, n0, sum1);
  store(m0 + 2u, n0, sum2);
  store(m0 + 3u, n0, sum3);
}

fn store(m: u32, n0: u32, sum: vec4f) {
  if (m >= params.M) {
    return;
  }
  for (var j = 0u; j < 4u && n0 + j < params.N; j++) {
    let i = m * params.cStride + params.cStart + n0 + j;
    var value = params.scale * sum[j];
    if (params.hasBias == 1u) {
      value += bias[n0 + j];
    }
    if (params.add == 1u) {
      value += c[i];
    }
    c[i] = value;
  }
}

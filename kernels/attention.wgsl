// Attention  y[b,i,h,:] = sum_j p[b,h,i,j] v[b,j,h/G,:]      G = H/K query heads share a key/value head
//            p[b,h,i,:] = softmax_j(scale * q[b,i,h,:].k[b,j,h/G,:]) over the keys that i may attend
//            lse[b,h,i] = log(sum_j exp(scale * q.k))
//
// Shapes     B batch, S sequence, H query heads, K key/value heads, DH head width (1 to 256). Row-major.
//            key_mask [B, S], 1 = may be attended, read where params.masked; causal: key j <= query i.
// Grid       x: tiles of 32 queries, y: b * H + h. 64 threads: thread (tx, ty) holds scores of queries 4 ty .. 4 ty + 3
//            with keys tx + 8 n, and the same queries' outputs at channels 4 tx + 32 c.
// Entries    forward  writes  y, stats[0] = lse
// Numerics   f32. Softmax is online: a running maximum rescales sum and output, no S x S matrix is stored.
//            A query without keys gives y = 0 and lse = 1e30, so that its weights are exp(s - 1e30) = 0 in backward.
// Source     Milakov & Gimelshein 2018, arXiv:1805.02867, alg. 3; Dao 2023, arXiv:2307.08691, alg. 1.
// Twins      lib/ops/attention.ts, tests/ops/attention_test.ts, kernels/attention_backward.wgsl

struct Params {
  S: u32,
  H: u32,
  K: u32,
  causal: u32,
  masked: u32,
  scale: f32,
}

const DH: u32 = 64u;
const CHUNKS: u32 = (DH + 31u) / 32u;  // channels pass through workgroup memory 32 at a time
const STRIDE: u32 = 9u;                // 8 vec4 of a tile row and one more, so that rows start in different banks
const LOWEST: f32 = -1e30;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;           // [B, S, H * DH]
@group(0) @binding(2) var<storage, read> k: array<vec4f>;           // [B, S, K * DH]
@group(0) @binding(3) var<storage, read> v: array<vec4f>;           // [B, S, K * DH]
@group(0) @binding(4) var<storage, read> key_mask: array<u32>;      // [B, S]
@group(0) @binding(5) var<storage, read_write> y: array<f32>;       // [B, S, H * DH]
@group(0) @binding(6) var<storage, read_write> stats: array<f32>;   // [2, B, H, S]: lse; the second half is backward's

var<workgroup> left: array<vec4f, 32u * STRIDE>;     // [query, 4 channels]
var<workgroup> right: array<vec4f, 32u * STRIDE>;    // [key, 4 channels]
var<workgroup> weights: array<vec4f, 32u * STRIDE>;  // [key, ty], one component a query
var<workgroup> shared_rows: array<vec4f, 64>;        // [ty, tx], one component a query

// Four channels of a row from d on, zero past the head. The first branch is decided when the kernel is compiled.
fn load_q(row: u32, d: u32) -> vec4f {
  if (DH % 4u == 0u) {
    return select(vec4f(), q[(row + d) / 4u], d < DH);
  }
  let i = row + d + vec4u(0u, 1u, 2u, 3u);
  let at = i / 4u;
  let c = i % 4u;
  let all = vec4f(q[at.x][c.x], q[at.y][c.y], q[at.z][c.z], q[at.w][c.w]);
  return select(vec4f(), all, i < vec4u(row + DH));
}

fn load_k(row: u32, d: u32) -> vec4f {
  if (DH % 4u == 0u) {
    return select(vec4f(), k[(row + d) / 4u], d < DH);
  }
  let i = row + d + vec4u(0u, 1u, 2u, 3u);
  let at = i / 4u;
  let c = i % 4u;
  let all = vec4f(k[at.x][c.x], k[at.y][c.y], k[at.z][c.z], k[at.w][c.w]);
  return select(vec4f(), all, i < vec4u(row + DH));
}

fn load_v(row: u32, d: u32) -> vec4f {
  if (DH % 4u == 0u) {
    return select(vec4f(), v[(row + d) / 4u], d < DH);
  }
  let i = row + d + vec4u(0u, 1u, 2u, 3u);
  let at = i / 4u;
  let c = i % 4u;
  let all = vec4f(v[at.x][c.x], v[at.y][c.y], v[at.z][c.z], v[at.w][c.w]);
  return select(vec4f(), all, i < vec4u(row + DH));
}

// Which of four queries from `query` on may attend `key`.
fn may_attend(query: u32, key: u32, b: u32) -> vec4<bool> {
  let open = key < params.S && (params.masked == 0u || key_mask[b * params.S + min(key, params.S - 1u)] == 1u);
  return vec4<bool>(open) & (query + vec4u(0u, 1u, 2u, 3u) >= vec4u(key * params.causal));
}

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
  let tx = t % 8u;
  let ty = t / 8u;
  let b = group.y / params.H;
  let h = group.y % params.H;
  let i0 = group.x * 32u;
  let query = i0 + ty * 4u;
  let q_row = h * DH;
  let k_row = h / (params.H / params.K) * DH;
  let last = params.S - 1u;
  let stop = select(params.S, min(params.S, i0 + 32u), params.causal == 1u);
  var highest = vec4f(LOWEST);
  var total = vec4f();
  var sums: array<mat4x4f, CHUNKS>;  // [chunk][query][channel]
  for (var j0 = 0u; j0 < stop; j0 += 32u) {
    var s0 = vec4f();
    var s1 = vec4f();
    var s2 = vec4f();
    var s3 = vec4f();
    for (var c = 0u; c < CHUNKS; c++) {
      for (var n = t; n < 256u; n += 64u) {
        let row = n / 8u;
        let d = c * 32u + n % 8u * 4u;
        left[row * STRIDE + n % 8u] = load_q((b * params.S + min(i0 + row, last)) * params.H * DH + q_row, d);
        right[row * STRIDE + n % 8u] = load_k((b * params.S + min(j0 + row, last)) * params.K * DH + k_row, d);
      }
      workgroupBarrier();
      for (var d = 0u; d < 8u; d++) {
        let at = ty * 4u * STRIDE + d;
        let rows = mat4x4f(left[at], left[at + STRIDE], left[at + 2u * STRIDE], left[at + 3u * STRIDE]);
        s0 += right[tx * STRIDE + d] * rows;
        s1 += right[(tx + 8u) * STRIDE + d] * rows;
        s2 += right[(tx + 16u) * STRIDE + d] * rows;
        s3 += right[(tx + 24u) * STRIDE + d] * rows;
      }
      workgroupBarrier();
    }
    let open0 = may_attend(query, j0 + tx, b);
    let open1 = may_attend(query, j0 + tx + 8u, b);
    let open2 = may_attend(query, j0 + tx + 16u, b);
    let open3 = may_attend(query, j0 + tx + 24u, b);
    s0 = select(vec4f(LOWEST), s0 * params.scale, open0);
    s1 = select(vec4f(LOWEST), s1 * params.scale, open1);
    s2 = select(vec4f(LOWEST), s2 * params.scale, open2);
    s3 = select(vec4f(LOWEST), s3 * params.scale, open3);
    shared_rows[t] = max(max(s0, s1), max(s2, s3));
    workgroupBarrier();
    let before = highest;
    for (var x = 0u; x < 8u; x++) {
      highest = max(highest, shared_rows[ty * 8u + x]);
    }
    let shrink = exp(before - highest);
    s0 = select(vec4f(), exp(s0 - highest), open0);
    s1 = select(vec4f(), exp(s1 - highest), open1);
    s2 = select(vec4f(), exp(s2 - highest), open2);
    s3 = select(vec4f(), exp(s3 - highest), open3);
    total = total * shrink + (s0 + s1 + s2 + s3);
    weights[tx * STRIDE + ty] = s0;
    weights[(tx + 8u) * STRIDE + ty] = s1;
    weights[(tx + 16u) * STRIDE + ty] = s2;
    weights[(tx + 24u) * STRIDE + ty] = s3;
    for (var c = 0u; c < CHUNKS; c++) {
      for (var n = t; n < 256u; n += 64u) {
        let row = (b * params.S + min(j0 + n / 8u, last)) * params.K * DH + k_row;
        right[n / 8u * STRIDE + n % 8u] = load_v(row, c * 32u + n % 8u * 4u);
      }
      workgroupBarrier();
      var sum = sums[c];
      sum = mat4x4f(sum[0] * shrink.x, sum[1] * shrink.y, sum[2] * shrink.z, sum[3] * shrink.w);
      for (var key = 0u; key < 32u; key++) {
        let p = weights[key * STRIDE + ty];
        let values = right[key * STRIDE + tx];
        sum += mat4x4f(values * p.x, values * p.y, values * p.z, values * p.w);
      }
      sums[c] = sum;
      workgroupBarrier();
    }
  }
  shared_rows[t] = total;
  workgroupBarrier();
  total = vec4f();
  for (var x = 0u; x < 8u; x++) {
    total += shared_rows[ty * 8u + x];
  }
  for (var i = 0u; i < 4u && query + i < params.S; i++) {
    let inverse = select(0.0, 1.0 / total[i], total[i] > 0.0);
    let row = (b * params.S + query + i) * params.H * DH + q_row;
    for (var c = 0u; c < CHUNKS; c++) {
      for (var n = 0u; n < 4u; n++) {
        let d = c * 32u + tx * 4u + n;
        if (d < DH) {
          y[row + d] = sums[c][i][n] * inverse;
        }
      }
    }
    if (tx == 0u) {
      stats[group.y * params.S + query + i] = select(-LOWEST, highest[i] + log(total[i]), total[i] > 0.0);
    }
  }
}

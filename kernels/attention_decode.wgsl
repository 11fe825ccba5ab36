// Attention of one new token per row over a cache of keys and values
//   y[r,h,:] = sum_{j < lengths[r]} softmax_j(scale * q[r,h,:].key(j)) value(j)
//   key(j) = k_cache[table[r,j], j, h/G, :], value(j) likewise; G = H/K query heads share a key/value head
//
// Shapes     R rows (images x beams), H query heads, K key/value heads, DH head width (1 to 256), slots, M positions of
//            a slot.
// Grid       x: key head * ceil(G/4) + which four query heads of the group, y: row. 64 threads: each scores keys t + 64 n
//            of a tile of 256 for four heads, then sums four channels of every SPLITS-th key's value.
// Entries    decode  writes  y
// Numerics   f32, online softmax over tiles of 256 keys. A row of length 0 gives zeros.
// Source     Milakov & Gimelshein 2018, arXiv:1805.02867, alg. 3; the table is that of Kwon et al. 2023,
//            arXiv:2309.06180, section 4.1, with blocks of one position.
// Twins      lib/ops/attention_decode.ts, tests/ops/attention_decode_test.ts

struct Params {
  H: u32,
  K: u32,
  M: u32,
  scale: f32,
}

const DH: u32 = 64u;
const WIDTH: u32 = (DH + 3u) / 4u;  // vec4 of a head
const SPLITS: u32 = 64u / WIDTH;
const LOWEST: f32 = -1e30;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;          // [R, H * DH]
@group(0) @binding(2) var<storage, read> k_cache: array<vec4f>;  // [slots, M, K * DH]
@group(0) @binding(3) var<storage, read> v_cache: array<vec4f>;  // [slots, M, K * DH]
@group(0) @binding(4) var<storage, read> table: array<u32>;      // [R, M], slot of each position
@group(0) @binding(5) var<storage, read> lengths: array<u32>;    // [R], positions in use, the new one included
@group(0) @binding(6) var<storage, read_write> y: array<f32>;    // [R, H * DH]

var<workgroup> queries: array<vec4f, 4u * WIDTH>;  // [channel], one component a head
var<workgroup> starts: array<u32, 256>;            // first element of each key's head in the caches
var<workgroup> weights: array<vec4f, 256>;         // [key], one component a head
var<workgroup> folding: array<vec4f, 64>;
var<workgroup> folded: array<vec4f, 8>;
var<workgroup> parts: array<mat4x4f, 64>;          // [thread][head][channel]

// Four channels of a head that starts at element `start`, from d on, zero past its end. The first branch is decided
// when the kernel is compiled: only such heads start at a whole vec4.
fn load_k(start: u32, d: u32) -> vec4f {
  if (DH % 4u == 0u) {
    return k_cache[(start + d) / 4u];
  }
  let i = start + d + vec4u(0u, 1u, 2u, 3u);
  let at = i / 4u;
  let c = i % 4u;
  let all = vec4f(k_cache[at.x][c.x], k_cache[at.y][c.y], k_cache[at.z][c.z], k_cache[at.w][c.w]);
  return select(vec4f(), all, i < vec4u(start + DH));
}

fn load_v(start: u32, d: u32) -> vec4f {
  if (DH % 4u == 0u) {
    return v_cache[(start + d) / 4u];
  }
  let i = start + d + vec4u(0u, 1u, 2u, 3u);
  let at = i / 4u;
  let c = i % 4u;
  let all = vec4f(v_cache[at.x][c.x], v_cache[at.y][c.y], v_cache[at.z][c.z], v_cache[at.w][c.w]);
  return select(vec4f(), all, i < vec4u(start + DH));
}

// Largest of all threads' values, for every thread.
fn max_over_workgroup(value: vec4f, t: u32) -> vec4f {
  folding[t] = value;
  workgroupBarrier();
  if (t < 8u) {
    var most = folding[t * 8u];
    for (var n = 1u; n < 8u; n++) {
      most = max(most, folding[t * 8u + n]);
    }
    folded[t] = most;
  }
  workgroupBarrier();
  var most = folded[0];
  for (var n = 1u; n < 8u; n++) {
    most = max(most, folded[n]);
  }
  return most;
}

@compute @workgroup_size(64)
fn decode(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
  let heads = params.H / params.K;
  let quads = (heads + 3u) / 4u;
  let key_head = group.x / quads;
  let first = group.x % quads * 4u;             // of the four heads, within their group
  let count = min(4u, heads - first);
  let base = (group.y * params.H + key_head * heads + first) * DH;
  let stop = lengths[group.y];
  for (var d = t; d < 4u * WIDTH; d += 64u) {
    let head = base + min(vec4u(0u, 1u, 2u, 3u), vec4u(count - 1u)) * DH + d;
    queries[d] = select(vec4f(), vec4f(q[head.x], q[head.y], q[head.z], q[head.w]), d < DH);
  }
  let column = t % WIDTH;
  let split = t / WIDTH;
  var highest = vec4f(LOWEST);
  var total = vec4f();
  var sums = mat4x4f();  // [head][channel]
  for (var j0 = 0u; j0 < stop; j0 += 256u) {
    for (var n = t; n < 256u; n += 64u) {
      let key = min(j0 + n, stop - 1u);
      starts[n] = ((table[group.y * params.M + key] * params.M + key) * params.K + key_head) * DH;
    }
    workgroupBarrier();
    let key = j0 + t;
    var s0 = vec4f();
    var s1 = vec4f();
    var s2 = vec4f();
    var s3 = vec4f();
    if (key < stop) {
      let start = vec4u(starts[t], starts[t + 64u], starts[t + 128u], starts[t + 192u]);
      for (var d = 0u; d < 4u * WIDTH; d += 4u) {
        let rows = mat4x4f(queries[d], queries[d + 1u], queries[d + 2u], queries[d + 3u]);
        s0 += rows * load_k(start.x, d);
        s1 += rows * load_k(start.y, d);
        s2 += rows * load_k(start.z, d);
        s3 += rows * load_k(start.w, d);
      }
    }
    s0 = select(vec4f(LOWEST), s0 * params.scale, key < stop);
    s1 = select(vec4f(LOWEST), s1 * params.scale, key + 64u < stop);
    s2 = select(vec4f(LOWEST), s2 * params.scale, key + 128u < stop);
    s3 = select(vec4f(LOWEST), s3 * params.scale, key + 192u < stop);
    let before = highest;
    highest = max(before, max_over_workgroup(max(max(s0, s1), max(s2, s3)), t));
    let shrink = exp(before - highest);
    // Every tile holds a key, so the maximum is finite and what is past the end vanishes.
    s0 = exp(s0 - highest);
    s1 = exp(s1 - highest);
    s2 = exp(s2 - highest);
    s3 = exp(s3 - highest);
    total = total * shrink + (s0 + s1 + s2 + s3);
    weights[t] = s0;
    weights[t + 64u] = s1;
    weights[t + 128u] = s2;
    weights[t + 192u] = s3;
    workgroupBarrier();
    sums = mat4x4f(sums[0] * shrink.x, sums[1] * shrink.y, sums[2] * shrink.z, sums[3] * shrink.w);
    let end = select(0u, min(256u, stop - j0), split < SPLITS);
    for (var n = split; n < end; n += SPLITS) {
      let p = weights[n];
      let values = load_v(starts[n], column * 4u);
      sums += mat4x4f(values * p.x, values * p.y, values * p.z, values * p.w);
    }
    workgroupBarrier();
  }
  parts[t] = sums;
  folding[t] = total;
  workgroupBarrier();
  // One thread per channel and head.
  for (var n = t; n < count * DH; n += 64u) {
    let head = n / DH;
    let d = n % DH;
    var sum = 0.0;
    for (var s = 0u; s < SPLITS; s++) {
      sum += parts[s * WIDTH + d / 4u][head][d % 4u];
    }
    var whole = 0.0;
    for (var s = 0u; s < 64u; s++) {
      whole += folding[s][head];
    }
    y[base + n] = select(0.0, sum / whole, whole > 0.0);
  }
}

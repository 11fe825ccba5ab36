// The plain peer that bench/attention.ts measures: causal attention in three kernels with the matrix of scores in memory.
//
// Shapes     B batch, S sequence, H query heads, K key/value heads, DH head width (a multiple of 4).
// Grid       scores: one thread per (key, query, b * H + h). normalise: one thread per row of scores.
//            values: one thread per (four channels, query, b * H + h).
// Entries    scores  writes  p    normalise  writes  p in place    values  writes  y

struct Params {
  B: u32,
  S: u32,
  H: u32,
  K: u32,
  scale: f32,
}

const DH: u32 = 64u;
const WIDTH: u32 = DH / 4u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;        // [B, S, H * DH]
@group(0) @binding(2) var<storage, read> k: array<vec4f>;        // [B, S, K * DH]
@group(0) @binding(3) var<storage, read> v: array<vec4f>;        // [B, S, K * DH]
@group(0) @binding(4) var<storage, read_write> p: array<f32>;    // [B, H, S, S]
@group(0) @binding(5) var<storage, read_write> y: array<vec4f>;  // [B, S, H * DH]

fn query_row(b: u32, i: u32, h: u32) -> u32 {
  return ((b * params.S + i) * params.H + h) * WIDTH;
}

fn key_row(b: u32, j: u32, h: u32) -> u32 {
  return ((b * params.S + j) * params.K + h / (params.H / params.K)) * WIDTH;
}

@compute @workgroup_size(8, 8)
fn scores(@builtin(global_invocation_id) id: vec3u) {
  let j = id.x;
  let i = id.y;
  if (i >= params.S || j > i) {
    return;
  }
  let query = query_row(id.z / params.H, i, id.z % params.H);
  let key = key_row(id.z / params.H, j, id.z % params.H);
  var sum = 0.0;
  for (var d = 0u; d < WIDTH; d++) {
    sum += dot(q[query + d], k[key + d]);
  }
  p[(id.z * params.S + i) * params.S + j] = sum * params.scale;
}

@compute @workgroup_size(64)
fn normalise(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.B * params.H * params.S) {
    return;
  }
  let i = id.x % params.S;
  let row = id.x * params.S;
  var highest = p[row];
  for (var j = 1u; j <= i; j++) {
    highest = max(highest, p[row + j]);
  }
  var total = 0.0;
  for (var j = 0u; j <= i; j++) {
    let e = exp(p[row + j] - highest);
    p[row + j] = e;
    total += e;
  }
  for (var j = 0u; j <= i; j++) {
    p[row + j] /= total;
  }
}

@compute @workgroup_size(16, 4)
fn values(@builtin(global_invocation_id) id: vec3u) {
  let i = id.y;
  if (i >= params.S || id.x >= WIDTH) {
    return;
  }
  let b = id.z / params.H;
  let h = id.z % params.H;
  let weights = (id.z * params.S + i) * params.S;
  let first = key_row(b, 0u, h) + id.x;
  let step = params.K * WIDTH;
  var sum = vec4f();
  for (var j = 0u; j <= i; j++) {
    sum += p[weights + j] * v[first + j * step];
  }
  y[query_row(b, i, h) + id.x] = sum;
}

// Rotary     y[i] = x[i] * cos - x[i + Dh/2] * sin,  y[i + Dh/2] = x[i + Dh/2] * cos + x[i] * sin    for i < Dh/2
// positions  cos = table[p, i], sin = direction * table[p, i + Dh/2], p the row's position
//
// Shapes     N = B*S rows of H heads of 2*half = Dh channels; P positions in the table. Row-major.
// Grid       rotate: one thread per pair of channels; rotate_vec4 (half a multiple of 4): one thread per four
//            pairs. Workgroups folded over x and y.
// Entries    rotate, rotate_vec4  write or add to (params.add) y. The backward is the same with direction = -1.
// Numerics   f32; the table is computed in f64.
// Source     Su et al. 2021, arXiv:2104.09864, eq. 34, the halves of a head paired as in
//            Hugging Face's Llama.
// Twins      lib/ops/rope.ts, tests/ops/rope_test.ts

struct Params {
  count: u32,      // threads: N * H * half, or a quarter of it
  heads: u32,
  half: u32,       // in the units of the entry point: channels, or fours of channels
  S: u32,
  P: u32,
  given: u32,      // 1: positions holds every row's position; 0: a row's position is row % S
  direction: f32,  // 1 or -1
  add: u32,
}

const WORKGROUP: u32 = 64u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> positions: array<u32>;       // [N], read if params.given
@group(0) @binding(2) var<storage, read> table: array<f32>;           // [P, 2 * half]
@group(0) @binding(3) var<storage, read> x: array<f32>;               // [N, H, 2 * half]
@group(0) @binding(4) var<storage, read_write> y: array<f32>;         // [N, H, 2 * half]
@group(0) @binding(2) var<storage, read> table_vec4: array<vec4f>;    // the same memory as table
@group(0) @binding(3) var<storage, read> x_vec4: array<vec4f>;        // the same memory as x
@group(0) @binding(4) var<storage, read_write> y_vec4: array<vec4f>;  // the same memory as y

struct Place {
  channel: u32,  // of the pair's first element in x
  angle: u32,    // of its cosine in the table
}

fn place_of(id: u32) -> Place {
  let head = id / params.half;
  let i = id % params.half;
  let n = head / params.heads;
  var p = n % params.S;
  if (params.given == 1u) {
    p = min(positions[n], params.P - 1u);
  }
  return Place(head * 2u * params.half + i, p * 2u * params.half + i);
}

@compute @workgroup_size(WORKGROUP)
fn rotate(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let id = (group.x + group.y * groups.x) * WORKGROUP + lane;
  if (id >= params.count) {
    return;
  }
  let at = place_of(id);
  let cosine = table[at.angle];
  let sine = params.direction * table[at.angle + params.half];
  let second = at.channel + params.half;
  var low = x[at.channel] * cosine - x[second] * sine;
  var high = x[second] * cosine + x[at.channel] * sine;
  if (params.add == 1u) {
    low += y[at.channel];
    high += y[second];
  }
  y[at.channel] = low;
  y[second] = high;
}

@compute @workgroup_size(WORKGROUP)
fn rotate_vec4(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let id = (group.x + group.y * groups.x) * WORKGROUP + lane;
  if (id >= params.count) {
    return;
  }
  let at = place_of(id);
  let cosine = table_vec4[at.angle];
  let sine = params.direction * table_vec4[at.angle + params.half];
  let second = at.channel + params.half;
  var low = x_vec4[at.channel] * cosine - x_vec4[second] * sine;
  var high = x_vec4[second] * cosine + x_vec4[at.channel] * sine;
  if (params.add == 1u) {
    low += y_vec4[at.channel];
    high += y_vec4[second];
  }
  y_vec4[at.channel] = low;
  y_vec4[second] = high;
}

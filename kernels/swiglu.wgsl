// SwiGLU     y = silu(gate) * up, silu(g) = g / (1 + exp(-g))
//
// Shapes     count groups of four elements of any shape, the last one padded.
// Grid       one thread per four elements, workgroups folded over x and y.
// Entries    forward        writes  y
//            backward_gate  writes or adds to (params.add) dx, the gradient of gate
//            backward_up    writes or adds to (params.add) dx, the gradient of up
// Numerics   f32.
// Source     Shazeer 2020, arXiv:2002.05202, eq. 5 (the gated product, without its projections).
// Twins      lib/ops/swiglu.ts, tests/ops/swiglu_test.ts

struct Params {
  count: u32,
  add: u32,
}

const WORKGROUP: u32 = 64u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gate: array<vec4f>;      // [count]
@group(0) @binding(2) var<storage, read> up: array<vec4f>;        // [count]
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;   // [count]
@group(0) @binding(4) var<storage, read> dy: array<vec4f>;        // [count]
@group(0) @binding(5) var<storage, read_write> dx: array<vec4f>;  // [count]

// exp overflows at 89; at 80 the sigmoid is 2e-35, and its product with any gate is nothing beside 1.
fn sigmoid(value: vec4f) -> vec4f {
  return 1.0 / (1.0 + exp(-max(value, vec4f(-80.0))));
}

@compute @workgroup_size(WORKGROUP)
fn forward(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.x + group.y * groups.x) * WORKGROUP + lane;
  if (i >= params.count) {
    return;
  }
  y[i] = gate[i] * sigmoid(gate[i]) * up[i];
}

@compute @workgroup_size(WORKGROUP)
fn backward_gate(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.x + group.y * groups.x) * WORKGROUP + lane;
  if (i >= params.count) {
    return;
  }
  let g = gate[i];
  let s = sigmoid(g);
  var gradient = dy[i] * up[i] * s * (1.0 + g * (1.0 - s));
  if (params.add == 1u) {
    gradient += dx[i];
  }
  dx[i] = gradient;
}

@compute @workgroup_size(WORKGROUP)
fn backward_up(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.x + group.y * groups.x) * WORKGROUP + lane;
  if (i >= params.count) {
    return;
  }
  var gradient = dy[i] * gate[i] * sigmoid(gate[i]);
  if (params.add == 1u) {
    gradient += dx[i];
  }
  dx[i] = gradient;
}

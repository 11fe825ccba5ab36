// ReLU       y = max(x, 0)
//
// Shapes     count groups of four elements of any shape, the last one padded.
// Grid       one thread per four elements, workgroups folded over x and y.
// Entries    forward   writes y
//            backward  writes or adds to (params.add) dx; at 0 the gradient is 0, as in PyTorch
// Numerics   exact.
// Source     Nair & Hinton 2010, "Rectified linear units improve restricted Boltzmann machines".
// Twins      lib/ops/relu.ts, tests/ops/relu_test.ts

struct Params {
  count: u32,
  add: u32,
}

const WORKGROUP: u32 = 64u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;         // [count]
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;   // [count]
@group(0) @binding(3) var<storage, read> dy: array<vec4f>;        // [count]
@group(0) @binding(4) var<storage, read_write> dx: array<vec4f>;  // [count]

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
  y[i] = max(x[i], vec4f());
}

@compute @workgroup_size(WORKGROUP)
fn backward(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.x + group.y * groups.x) * WORKGROUP + lane;
  if (i >= params.count) {
    return;
  }
  var gradient = select(vec4f(), dy[i], x[i] > vec4f());
  if (params.add == 1u) {
    gradient += dx[i];
  }
  dx[i] = gradient;
}

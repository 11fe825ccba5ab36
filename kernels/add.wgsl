// Addition   y[i] = a[i] + b[i]        y[i] += a[i]
//
// Shapes     count groups of four elements of any shape, the last one padded.
// Grid       one thread per four elements, workgroups folded over x and y.
// Entries    forward     writes  y
//            accumulate  adds to y
// Numerics   f32.
// Source     He et al. 2016, arXiv:1512.03385, eq. 1 (residual connection).
// Twins      lib/ops/add.ts, tests/ops/add_test.ts

struct Params {
  count: u32,
}

const WORKGROUP: u32 = 64u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;        // [count]
@group(0) @binding(2) var<storage, read> b: array<vec4f>;        // [count]
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;  // [count]

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
  y[i] = a[i] + b[i];
}

@compute @workgroup_size(WORKGROUP)
fn accumulate(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.x + group.y * groups.x) * WORKGROUP + lane;
  if (i >= params.count) {
    return;
  }
  y[i] += a[i];
}

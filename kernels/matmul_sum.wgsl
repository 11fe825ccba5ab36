// Sum of parts   c[m,n] = scale * sum_p parts[p,m,n] + bias[n]
//
// Shapes     P parts of a product whose K was split, each [M, N]; c's rows lie cStride apart and start at column cStart.
// Grid       one thread per element of c, workgroups folded over x and y.
// Entries    main   writes or adds to (params.add) c
// Numerics   sums in f32, in the order of p.
// Source     sum over k = sum over parts of K.
// Twins      kernels/matmul_tile.wgsl, lib/ops/matmul.ts, tests/ops/matmul_test.ts

struct Params {
  M: u32,
  N: u32,
  P: u32,
  hasBias: u32,
  cStride: u32,
  cStart: u32,
  add: u32,
  scale: f32,
}

const WORKGROUP: u32 = 64u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<f32>;    // [P, M, N]
@group(0) @binding(2) var<storage, read_write> c: array<f32>;  // [M, cStride]
@group(0) @binding(3) var<storage, read> bias: array<f32>;     // [N]; anything when hasBias is 0

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let count = params.M * params.N;
  let i = (group.x + group.y * groups.x) * WORKGROUP + thread;
  if (i >= count) {
    return;
  }
  var value = 0.0;
  for (var p = 0u; p < params.P; p++) {
    value += parts[p * count + i];
  }
  value *= params.scale;
  let n = i % params.N;
  if (params.hasBias == 1u) {
    value += bias[n];
  }
  let at = i / params.N * params.cStride + params.cStart + n;
  if (params.add == 1u) {
    value += c[at];
  }
  c[at] = value;
}

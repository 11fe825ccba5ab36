// Column sum   y[c] = sum_n x[n,c]        (the gradient of a bias)
//
// Shapes     N rows (every leading dimension folded), C channels. Row-major.
// Grid       x: 32 channels a workgroup, whose 8 groups of threads take every 8th row.
// Entries    main   writes or adds to (params.add) y
// Numerics   sums in f32.
// Source     d/db (x + b) summed over rows.
// Twins      lib/ops/linear.ts, tests/ops/linear_test.ts

struct Params {
  N: u32,
  C: u32,
  add: u32,
}

const COLUMNS: u32 = 32u;
const SLICES: u32 = 8u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;        // [N, C]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;  // [C]

var<workgroup> partial: array<f32, COLUMNS * SLICES>;

@compute @workgroup_size(COLUMNS, SLICES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let c = group.x * COLUMNS + local.x;
  var sum = 0.0;
  if (c < params.C) {
    for (var n = local.y; n < params.N; n += SLICES) {
      sum += x[n * params.C + c];
    }
  }
  partial[local.y * COLUMNS + local.x] = sum;
  workgroupBarrier();
  if (local.y == 0u && c < params.C) {
    for (var slice = 1u; slice < SLICES; slice++) {
      sum += partial[slice * COLUMNS + local.x];
    }
    y[c] = select(sum, y[c] + sum, params.add == 1u);
  }
}

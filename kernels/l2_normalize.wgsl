// L2 normalize  y[n, c] = x[n, c] * rnorm[n],  rnorm[n] = 1 / max(|x[n, :]|, eps)
//               dx = rnorm * (dy - y * sum_c(y * dy)); where |x| <= eps: dx = rnorm * dy
//
// Shapes     N rows (every leading dimension folded), C channels. Row-major.
// Grid       one workgroup per row, rows folded over x and y.
// Entries    forward   writes  y, rnorm
//            backward  writes or adds to (params.add) dx
// Numerics   sums in f32.
// Source     torch.nn.functional.normalize.
// Twins      lib/ops/l2_normalize.ts, tests/ops/l2_normalize_test.ts

struct Params {
  N: u32,
  C: u32,
  eps: f32,
  add: u32,
}

const WORKGROUP: u32 = 32u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;              // [N, C]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;        // [N, C]
@group(0) @binding(3) var<storage, read_write> rnorm: array<f32>;    // [N], saved for backward
@group(0) @binding(4) var<storage, read> normalized: array<f32>;     // [N, C], y as backward reads it
@group(0) @binding(5) var<storage, read> inverse: array<f32>;        // [N], rnorm as backward reads it
@group(0) @binding(6) var<storage, read> dy: array<f32>;             // [N, C]
@group(0) @binding(7) var<storage, read_write> dx: array<f32>;       // [N, C]

var<workgroup> partial: array<f32, WORKGROUP>;

fn sum_over_workgroup(value: f32, lane: u32) -> f32 {
  partial[lane] = value;
  workgroupBarrier();
  for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
    if (lane < half) {
      partial[lane] += partial[lane + half];
    }
    workgroupBarrier();
  }
  return partial[0];
}

@compute @workgroup_size(WORKGROUP)
fn forward(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let n = group.x + group.y * groups.x;
  if (n >= params.N) {
    return;
  }
  let start = n * params.C;
  var squares = 0.0;
  for (var c = lane; c < params.C; c += WORKGROUP) {
    squares += x[start + c] * x[start + c];
  }
  let scale = 1.0 / max(sqrt(sum_over_workgroup(squares, lane)), params.eps);
  for (var c = lane; c < params.C; c += WORKGROUP) {
    y[start + c] = x[start + c] * scale;
  }
  if (lane == 0u) {
    rnorm[n] = scale;
  }
}

@compute @workgroup_size(WORKGROUP)
fn backward(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let n = group.x + group.y * groups.x;
  if (n >= params.N) {
    return;
  }
  let start = n * params.C;
  let scale = inverse[n];
  var product = 0.0;
  for (var c = lane; c < params.C; c += WORKGROUP) {
    product += normalized[start + c] * dy[start + c];
  }
  let total = sum_over_workgroup(product, lane);
  // A row that was not scaled to length 1 has a constant factor.
  let along = select(total, 0.0, scale * params.eps >= 1.0);
  for (var c = lane; c < params.C; c += WORKGROUP) {
    let gradient = scale * (dy[start + c] - normalized[start + c] * along);
    dx[start + c] = select(gradient, dx[start + c] + gradient, params.add == 1u);
  }
}

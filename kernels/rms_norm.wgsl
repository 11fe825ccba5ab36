// RMSNorm    y[n,c] = x[n,c] * rstd[n] * weight[c]
//            rstd[n] = 1 / sqrt(mean_c(x[n,c]^2) + eps)
//
// Shapes     N rows (every leading dimension folded), C channels. Row-major.
// Grid       forward, backward_x: one workgroup per row, rows folded over x and y.
//            backward_weight: x: 32 channels a workgroup; y: one slice of params.rows rows each.
// Entries    forward          writes  y, rstd
//            backward_x       writes or adds to (params.add) dx
//            backward_weight  writes or adds to (params.add) dweight, one row of sums a slice
// Numerics   sums in f32.
// Source     Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4.
// Twins      kernels/rms_norm_vec4.wgsl, lib/ops/rms_norm.ts, tests/ops/rms_norm_test.ts

struct Params {
  N: u32,
  C: u32,
  eps: f32,
  rows: u32,  // rows of a slice
  add: u32,
}

const WORKGROUP: u32 = 32u;
const COLUMNS: u32 = 32u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;              // [N, C]
@group(0) @binding(2) var<storage, read> weight: array<f32>;         // [C]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;        // [N, C]
@group(0) @binding(4) var<storage, read_write> rstd: array<f32>;     // [N], saved for backward
@group(0) @binding(5) var<storage, read> dy: array<f32>;             // [N, C]
@group(0) @binding(6) var<storage, read_write> dx: array<f32>;       // [N, C]
@group(0) @binding(7) var<storage, read_write> dweight: array<f32>;  // [slices, C]

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
    let value = x[start + c];
    squares += value * value;
  }
  let scale = inverseSqrt(sum_over_workgroup(squares, lane) / f32(params.C) + params.eps);
  for (var c = lane; c < params.C; c += WORKGROUP) {
    y[start + c] = x[start + c] * scale * weight[c];
  }
  if (lane == 0u) {
    rstd[n] = scale;
  }
}

// dx = rstd * (dy * weight - x * rstd^2 * mean_c(dy * weight * x))
@compute @workgroup_size(WORKGROUP)
fn backward_x(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let n = group.x + group.y * groups.x;
  if (n >= params.N) {
    return;
  }
  let start = n * params.C;
  let scale = rstd[n];
  var product = 0.0;
  for (var c = lane; c < params.C; c += WORKGROUP) {
    product += dy[start + c] * weight[c] * x[start + c];
  }
  let mean = sum_over_workgroup(product, lane) / f32(params.C);
  for (var c = lane; c < params.C; c += WORKGROUP) {
    var gradient = scale * (dy[start + c] * weight[c] - x[start + c] * scale * scale * mean);
    if (params.add == 1u) {
      gradient += dx[start + c];
    }
    dx[start + c] = gradient;
  }
}

@compute @workgroup_size(COLUMNS)
fn backward_weight(@builtin(global_invocation_id) id: vec3u) {
  let c = id.x;
  if (c >= params.C) {
    return;
  }
  var sum = 0.0;
  let end = min((id.y + 1u) * params.rows, params.N);
  for (var n = id.y * params.rows; n < end; n++) {
    sum += dy[n * params.C + c] * x[n * params.C + c] * rstd[n];
  }
  let at = id.y * params.C + c;
  dweight[at] = select(sum, dweight[at] + sum, params.add == 1u);
}

// LayerNorm  y[n,c] = (x[n,c] - mean[n]) * rstd[n] * weight[c] + bias[c]
//            mean[n] = mean_c(x[n,c]);  rstd[n] = 1 / sqrt(mean_c((x[n,c] - mean[n])^2) + eps)
//
// Shapes     N rows (every leading dimension folded), C channels. Row-major.
// Grid       forward, backward_x: one workgroup per row, rows folded over x and y.
//            backward_weight: x: 32 channels a workgroup; y: one slice of params.rows rows each.
// Entries    forward          writes  y, statistics
//            backward_x       writes or adds to (params.add) dx
//            backward_weight  writes or adds to (params.add) dweight, one row of sums a slice
// Numerics   sums in f32; the variance is summed in a second pass, so that a large mean does not cancel it.
// Source     Ba et al. 2016, arXiv:1607.06450, section 3.1.
// Twins      kernels/layer_norm_vec4.wgsl, lib/ops/layer_norm.ts, tests/ops/layer_norm_test.ts

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
@group(0) @binding(1) var<storage, read> x: array<f32>;                   // [N, C]
@group(0) @binding(2) var<storage, read> weight: array<f32>;              // [C]
@group(0) @binding(3) var<storage, read> bias: array<f32>;                // [C]
@group(0) @binding(4) var<storage, read_write> y: array<f32>;             // [N, C]
@group(0) @binding(5) var<storage, read_write> statistics: array<vec2f>;  // [N]: mean, rstd, saved for backward
@group(0) @binding(6) var<storage, read> dy: array<f32>;                  // [N, C]
@group(0) @binding(7) var<storage, read_write> dx: array<f32>;            // [N, C]
@group(0) @binding(8) var<storage, read_write> dweight: array<f32>;       // [slices, C]

var<workgroup> partial: array<vec2f, WORKGROUP>;

fn sum_over_workgroup(value: vec2f, lane: u32) -> vec2f {
  partial[lane] = value;
  workgroupBarrier();
  for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
    if (lane < half) {
      partial[lane] += partial[lane + half];
    }
    workgroupBarrier();
  }
  let sum = partial[0];
  // The next sum overwrites what another lane may not have read yet.
  workgroupBarrier();
  return sum;
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
  var sum = 0.0;
  for (var c = lane; c < params.C; c += WORKGROUP) {
    sum += x[start + c];
  }
  let mean = sum_over_workgroup(vec2f(sum, 0.0), lane).x / f32(params.C);
  var squares = 0.0;
  for (var c = lane; c < params.C; c += WORKGROUP) {
    let centred = x[start + c] - mean;
    squares += centred * centred;
  }
  let scale = inverseSqrt(sum_over_workgroup(vec2f(squares, 0.0), lane).x / f32(params.C) + params.eps);
  for (var c = lane; c < params.C; c += WORKGROUP) {
    y[start + c] = (x[start + c] - mean) * scale * weight[c] + bias[c];
  }
  if (lane == 0u) {
    statistics[n] = vec2f(mean, scale);
  }
}

// dx = rstd * (g - mean_c(g) - h * mean_c(g * h))    where g = dy * weight, h = (x - mean) * rstd
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
  let mean = statistics[n].x;
  let scale = statistics[n].y;
  var sums = vec2f(0.0);
  for (var c = lane; c < params.C; c += WORKGROUP) {
    let g = dy[start + c] * weight[c];
    sums += vec2f(g, g * (x[start + c] - mean) * scale);
  }
  let means = sum_over_workgroup(sums, lane) / f32(params.C);
  for (var c = lane; c < params.C; c += WORKGROUP) {
    let h = (x[start + c] - mean) * scale;
    var gradient = scale * (dy[start + c] * weight[c] - means.x - h * means.y);
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
    let row = statistics[n];
    sum += dy[n * params.C + c] * (x[n * params.C + c] - row.x) * row.y;
  }
  let at = id.y * params.C + c;
  dweight[at] = select(sum, dweight[at] + sum, params.add == 1u);
}

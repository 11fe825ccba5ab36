// LayerNorm  y[n,c] = (x[n,c] - mean[n]) * rstd[n] * weight[c] + bias[c]
//            mean[n] = mean_c(x[n,c]);  rstd[n] = 1 / sqrt(mean_c((x[n,c] - mean[n])^2) + eps)
//
// Shapes     N rows (every leading dimension folded), C channels, a multiple of 4. Row-major.
// Grid       forward, backward_x: one workgroup per row, rows folded over x and y.
// Entries    forward          writes  y, statistics
//            backward_x       writes or adds to (params.add) dx
// Numerics   sums in f32; the variance is summed in a second pass, so that a large mean does not cancel it.
// Source     Ba et al. 2016, arXiv:1607.06450, section 3.1.
// Twins      kernels/layer_norm.wgsl (any C), lib/ops/layer_norm.ts, tests/ops/layer_norm_test.ts

struct Params {
  N: u32,
  C: u32,
  eps: f32,
  rows: u32,  // of a slice of layer_norm.backward_weight
  add: u32,
}

const WORKGROUP: u32 = 32u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;                 // [N, C / 4]
@group(0) @binding(2) var<storage, read> weight: array<vec4f>;            // [C / 4]
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;              // [C / 4]
@group(0) @binding(4) var<storage, read_write> y: array<vec4f>;           // [N, C / 4]
@group(0) @binding(5) var<storage, read_write> statistics: array<vec2f>;  // [N]: mean, rstd, saved for backward
@group(0) @binding(6) var<storage, read> dy: array<vec4f>;                // [N, C / 4]
@group(0) @binding(7) var<storage, read_write> dx: array<vec4f>;          // [N, C / 4]

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
  let quads = params.C / 4u;
  let start = n * quads;
  var sum = vec4f(0.0);
  for (var c = lane; c < quads; c += WORKGROUP) {
    sum += x[start + c];
  }
  let mean = sum_over_workgroup(vec2f(dot(sum, vec4f(1.0)), 0.0), lane).x / f32(params.C);
  var squares = vec4f(0.0);
  for (var c = lane; c < quads; c += WORKGROUP) {
    let centred = x[start + c] - mean;
    squares += centred * centred;
  }
  let variance = sum_over_workgroup(vec2f(dot(squares, vec4f(1.0)), 0.0), lane).x / f32(params.C);
  let scale = inverseSqrt(variance + params.eps);
  for (var c = lane; c < quads; c += WORKGROUP) {
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
  let quads = params.C / 4u;
  let start = n * quads;
  let mean = statistics[n].x;
  let scale = statistics[n].y;
  var sums = vec2f(0.0);
  for (var c = lane; c < quads; c += WORKGROUP) {
    let g = dy[start + c] * weight[c];
    sums += vec2f(dot(g, vec4f(1.0)), dot(g, (x[start + c] - mean) * scale));
  }
  let means = sum_over_workgroup(sums, lane) / f32(params.C);
  for (var c = lane; c < quads; c += WORKGROUP) {
    let h = (x[start + c] - mean) * scale;
    var gradient = scale * (dy[start + c] * weight[c] - means.x - h * means.y);
    if (params.add == 1u) {
      gradient += dx[start + c];
    }
    dx[start + c] = gradient;
  }
}

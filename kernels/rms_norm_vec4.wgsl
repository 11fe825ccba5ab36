// RMSNorm    y[n,c] = x[n,c] * rstd[n] * weight[c]
//            rstd[n] = 1 / sqrt(mean_c(x[n,c]^2) + eps)
//
// Shapes     N rows (every leading dimension folded), C channels, a multiple of 4. Row-major.
// Grid       one workgroup per row, rows folded over x and y.
// Entries    forward     writes  y, rstd
//            backward_x  writes or adds to (params.add) dx
// Numerics   sums in f32.
// Source     Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4.
// Twins      kernels/rms_norm.wgsl (any C), lib/ops/rms_norm.ts, tests/ops/rms_norm_test.ts

struct Params {
  N: u32,
  C: u32,
  eps: f32,
  rows: u32,  // of a slice of rms_norm.backward_weight
  add: u32,
}

const WORKGROUP: u32 = 32u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;          // [N, C / 4]
@group(0) @binding(2) var<storage, read> weight: array<vec4f>;     // [C / 4]
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;    // [N, C / 4]
@group(0) @binding(4) var<storage, read_write> rstd: array<f32>;   // [N], saved for backward
@group(0) @binding(5) var<storage, read> dy: array<vec4f>;         // [N, C / 4]
@group(0) @binding(6) var<storage, read_write> dx: array<vec4f>;   // [N, C / 4]

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
  let quads = params.C / 4u;
  let start = n * quads;
  var squares = vec4f(0.0);
  for (var c = lane; c < quads; c += WORKGROUP) {
    let value = x[start + c];
    squares += value * value;
  }
  let sum = sum_over_workgroup(dot(squares, vec4f(1.0)), lane);
  let scale = inverseSqrt(sum / f32(params.C) + params.eps);
  for (var c = lane; c < quads; c += WORKGROUP) {
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
  let quads = params.C / 4u;
  let start = n * quads;
  let scale = rstd[n];
  var products = vec4f(0.0);
  for (var c = lane; c < quads; c += WORKGROUP) {
    products += dy[start + c] * weight[c] * x[start + c];
  }
  let mean = sum_over_workgroup(dot(products, vec4f(1.0)), lane) / f32(params.C);
  let pull = scale * scale * mean;
  for (var c = lane; c < quads; c += WORKGROUP) {
    var gradient = scale * (dy[start + c] * weight[c] - x[start + c] * pull);
    if (params.add == 1u) {
      gradient += dx[start + c];
    }
    dx[start + c] = gradient;
  }
}

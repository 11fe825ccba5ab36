// Softmax    y[n,c] = exp(x[n,c] - max_c x[n,c]) / sum_c exp(x[n,c] - max_c x[n,c])
//            dx[n,c] = y[n,c] * (dy[n,c] - sum_c dy[n,c] * y[n,c])
//
// Shapes     N rows (every leading dimension folded), C channels. Row-major.
// Grid       one workgroup per row, rows folded over x and y.
// Entries    forward   writes  y
//            backward  writes or adds to (params.add) dx
// Numerics   sums in f32 of exponentials that are at most 1.
// Source     Goodfellow et al. 2016, "Deep Learning", section 4.1.
// Twins      lib/ops/softmax.ts, tests/ops/softmax_test.ts

struct Params {
  N: u32,
  C: u32,
  add: u32,
}

const WORKGROUP: u32 = 32u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;           // [N, C]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;     // [N, C]
@group(0) @binding(3) var<storage, read> saved: array<f32>;       // [N, C], y as the backward reads it
@group(0) @binding(4) var<storage, read> dy: array<f32>;          // [N, C]
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;    // [N, C]

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

fn max_over_workgroup(value: f32, lane: u32) -> f32 {
  partial[lane] = value;
  workgroupBarrier();
  for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
    if (lane < half) {
      partial[lane] = max(partial[lane], partial[lane + half]);
    }
    workgroupBarrier();
  }
  let largest = partial[0];
  // The sum overwrites what another lane may not have read yet.
  workgroupBarrier();
  return largest;
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
  // Lanes beyond the row repeat its last element, so that no infinity enters.
  var largest = x[start + min(lane, params.C - 1u)];
  for (var c = lane; c < params.C; c += WORKGROUP) {
    largest = max(largest, x[start + c]);
  }
  largest = max_over_workgroup(largest, lane);
  var sum = 0.0;
  for (var c = lane; c < params.C; c += WORKGROUP) {
    let weight = exp(x[start + c] - largest);
    y[start + c] = weight;
    sum += weight;
  }
  let scale = 1.0 / sum_over_workgroup(sum, lane);
  for (var c = lane; c < params.C; c += WORKGROUP) {
    y[start + c] *= scale;
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
  var product = 0.0;
  for (var c = lane; c < params.C; c += WORKGROUP) {
    product += dy[start + c] * saved[start + c];
  }
  let sum = sum_over_workgroup(product, lane);
  for (var c = lane; c < params.C; c += WORKGROUP) {
    let gradient = saved[start + c] * (dy[start + c] - sum);
    dx[start + c] = select(gradient, dx[start + c] + gradient, params.add == 1u);
  }
}

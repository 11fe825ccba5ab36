// AdamW      g = clip * grad,  clip = min(1, max_norm / (norm + 1e-6)),  norm = |all grads|
//            m = m + (g - m) (1 - b1);  v = b2 v + (1 - b2) g^2
//            p = p (1 - lr wd) - lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps);  grad = 0
//
// Shapes     parameters, gradients and moments are flat and seen as vec4 windows of count vectors. state [8 + 2 G] holds
//            slot, 1 - b1, b2, 1 - b2, sqrt(1 - b2^t), eps, 0, 0 and for every group lr / (1 - b1^t) and 1 - lr wd.
//            stats [ring, 4] holds loss, norm, clip and flag of a step at state.slot.
// Grid       square: one workgroup per BLOCK vectors. finish: one workgroup. update: one thread per vector.
// Entries    square  writes  partial: sums of squares, from first_partial on
//            finish  writes  stats[slot]; then loss = 0. flag = 1 if the sum of squares or the loss is not finite
//            update  writes  values, m, v; grads = 0. Nothing at all if the flag is set
// Numerics   f32 sums in a fixed order; factors computed in f64 by the host.
// Source     Loshchilov & Hutter 2017, arXiv:1711.05101, algorithm 2; Kingma & Ba 2014, arXiv:1412.6980, algorithm 1;
//            order of operations of torch.optim.AdamW and torch.nn.utils.clip_grad_norm_.
// Twins      lib/ops/adamw.ts, tests/ops/adamw_test.ts

struct Params {
  count: u32,         // vectors in this window; finish: number of partial sums
  first_partial: u32,
  group: u32,
  max_norm: f32,
}

const WORKGROUP: u32 = 64u;
const BLOCK: u32 = 1024u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gradients: array<vec4f>;      // [count]
@group(0) @binding(2) var<storage, read_write> partial: array<f32>;    // [every window's blocks]
@group(0) @binding(3) var<storage, read> state: array<f32>;            // [8 + 2 G]
@group(0) @binding(4) var<storage, read_write> stats: array<vec4f>;    // [ring]
@group(0) @binding(5) var<storage, read_write> loss: array<f32>;       // [1]
@group(0) @binding(6) var<storage, read> verdict: array<vec4f>;        // [ring], stats as update reads it
@group(0) @binding(7) var<storage, read_write> values: array<vec4f>;   // [count]
@group(0) @binding(8) var<storage, read_write> grads: array<vec4f>;    // [count]
@group(0) @binding(9) var<storage, read_write> m: array<vec4f>;        // [count]
@group(0) @binding(10) var<storage, read_write> v: array<vec4f>;       // [count]

var<workgroup> lanes: array<f32, WORKGROUP>;

fn sum_over_workgroup(value: f32, lane: u32) -> f32 {
  lanes[lane] = value;
  workgroupBarrier();
  for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
    if (lane < half) {
      lanes[lane] += lanes[lane + half];
    }
    workgroupBarrier();
  }
  return lanes[0];
}

// Tested by its bits: a compiler may assume that no float is NaN.
fn is_finite(value: f32) -> bool {
  return (bitcast<u32>(value) & 0x7f800000u) != 0x7f800000u;
}

@compute @workgroup_size(WORKGROUP)
fn square(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let block = group.x + group.y * groups.x;
  if (block * BLOCK >= params.count) {
    return;
  }
  var sum = 0.0;
  let end = min((block + 1u) * BLOCK, params.count);
  for (var i = block * BLOCK + lane; i < end; i += WORKGROUP) {
    let g = gradients[i];
    sum += dot(g, g);
  }
  let total = sum_over_workgroup(sum, lane);
  if (lane == 0u) {
    partial[params.first_partial + block] = total;
  }
}

@compute @workgroup_size(WORKGROUP)
fn finish(@builtin(local_invocation_index) lane: u32) {
  var sum = 0.0;
  for (var i = lane; i < params.count; i += WORKGROUP) {
    sum += partial[i];
  }
  let total = sum_over_workgroup(sum, lane);
  if (lane != 0u) {
    return;
  }
  let ok = is_finite(total) && is_finite(loss[0]);
  let norm = sqrt(total);
  let clip = min(1.0, params.max_norm / (norm + 1e-6));
  stats[u32(state[0])] = vec4f(loss[0], norm, select(0.0, clip, ok), select(1.0, 0.0, ok));
  if (ok) {
    loss[0] = 0.0;
  }
}

@compute @workgroup_size(WORKGROUP)
fn update(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.x + group.y * groups.x) * WORKGROUP + lane;
  let judged = verdict[u32(state[0])];
  if (i >= params.count || judged.w != 0.0) {
    return;
  }
  let g = grads[i] * judged.z;
  let mean = m[i] + (g - m[i]) * state[1];
  let square_mean = v[i] * state[2] + g * g * state[3];
  let step_size = state[8u + 2u * params.group];
  let decay = state[9u + 2u * params.group];
  values[i] = values[i] * decay - step_size * mean / (sqrt(square_mean) / state[4] + state[5]);
  m[i] = mean;
  v[i] = square_mean;
  grads[i] = vec4f(0.0);
}

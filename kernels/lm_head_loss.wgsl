// LM head    loss = sum over n with labels[n] != -100 of w[n] * (log(sum_v exp(l[n, v])) - l[n, labels[n]])
//            dl[n, v] = (exp(l[n, v]) / sum_v exp(l[n, v]) - [v = labels[n]]) * grad_scale * w[n]
//            w[n] = 1/count, or weights[n] where weighted
//
// Shapes     N rows; the vocabulary V is seen in chunks of width columns from first_column on; logits [N, width].
// Grid       reduce, gradient: one workgroup per row, rows folded over x and y. finish: one workgroup.
// Entries    reduce    writes   running, target at the first chunk; brings them up to date at the others
//            finish    writes   loss_out = loss, count; adds to loss_sum loss * grad_scale. No valid label: loss 0
//            gradient  writes   dl over the chunk's logits, in place; rows without a label get 0
//            reduce_vec4, gradient_vec4  the same for widths that are a multiple of 4
// Numerics   running maximum and sum of exponentials in f32. A label that is neither -100 nor in [0, V) gives loss NaN.
// Source     Milakov & Gimelshein 2018, arXiv:1805.02867, algorithm 3 (online normaliser).
// Twins      lib/ops/lm_head_loss.ts, tests/ops/lm_head_loss_test.ts

struct Params {
  N: u32,
  V: u32,
  first_column: u32,
  width: u32,
  grad_scale: f32,
  nan_bits: u32, // NaN cannot be written as a constant in WGSL
  weighted: u32, // 0: the mean over the labels; 1: the sum with weights
}

const WORKGROUP: u32 = 64u;
const IGNORED: i32 = -100;
const LOWEST: f32 = -3.4e38;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> logits: array<f32>;     // [N, width]
@group(0) @binding(2) var<storage, read> labels: array<i32>;           // [N]
@group(0) @binding(3) var<storage, read_write> running: array<vec2f>;  // [N] maximum, sum of exp(l - maximum)
@group(0) @binding(4) var<storage, read_write> targets: array<f32>;    // [N] logit of the label
@group(0) @binding(5) var<storage, read_write> loss_out: array<f32>;   // [2] loss, count
@group(0) @binding(6) var<storage, read_write> loss_sum: array<f32>;   // [1]
@group(0) @binding(7) var<storage, read_write> logits4: array<vec4f>;  // [N, width / 4], logits in vectors
@group(0) @binding(8) var<storage, read> weights: array<f32>;          // [N], or anything where not weighted

var<workgroup> pairs: array<vec2f, WORKGROUP>;

// Maximum and sum over the union of two sets.
fn join(a: vec2f, b: vec2f) -> vec2f {
  let highest = max(a.x, b.x);
  return vec2f(highest, a.y * exp(a.x - highest) + b.y * exp(b.x - highest));
}

// Column of the row's label in this chunk; past its end if it lies elsewhere (a negative or earlier one wraps around).
fn label_column(n: u32) -> u32 {
  return u32(labels[n]) - params.first_column;
}

fn update_row(n: u32, mine: vec2f, lane: u32) {
  pairs[lane] = mine;
  workgroupBarrier();
  for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
    if (lane < half) {
      pairs[lane] = join(pairs[lane], pairs[lane + half]);
    }
    workgroupBarrier();
  }
  if (lane != 0u) {
    return;
  }
  if (params.first_column == 0u) {
    running[n] = pairs[0];
    let wrong = labels[n] != IGNORED && (labels[n] < 0 || u32(labels[n]) >= params.V);
    targets[n] = select(0.0, bitcast<f32>(params.nan_bits), wrong);
  } else {
    running[n] = join(running[n], pairs[0]);
  }
}

@compute @workgroup_size(WORKGROUP)
fn reduce(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let n = group.x + group.y * groups.x;
  if (n >= params.N) {
    return;
  }
  let start = n * params.width;
  var mine = vec2f(LOWEST, 0.0);
  for (var i = lane; i < params.width; i += WORKGROUP) {
    mine = join(mine, vec2f(logits[start + i], 1.0));
  }
  update_row(n, mine, lane);
  let column = label_column(n);
  if (lane == 0u && column < params.width) {
    targets[n] = logits[start + column];
  }
}

@compute @workgroup_size(WORKGROUP)
fn reduce_vec4(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let n = group.x + group.y * groups.x;
  if (n >= params.N) {
    return;
  }
  let count = params.width / 4u;
  let start = n * count;
  var mine = vec2f(LOWEST, 0.0);
  for (var i = lane; i < count; i += WORKGROUP) {
    let four = logits4[start + i];
    let highest = max(mine.x, max(max(four.x, four.y), max(four.z, four.w)));
    mine = vec2f(highest, mine.y * exp(mine.x - highest) + dot(exp(four - highest), vec4f(1.0)));
  }
  update_row(n, mine, lane);
  let column = label_column(n);
  if (lane == 0u && column < params.width) {
    targets[n] = logits4[start + column / 4u][column % 4u];
  }
}

@compute @workgroup_size(WORKGROUP)
fn finish(@builtin(local_invocation_index) lane: u32) {
  var mine = vec2f(0.0);
  for (var n = lane; n < params.N; n += WORKGROUP) {
    if (labels[n] != IGNORED) {
      let loss = running[n].x + log(running[n].y) - targets[n];
      if (params.weighted == 0u) {
        mine += vec2f(loss, 1.0);
      } else {
        mine += vec2f(loss * weights[n], 1.0);
      }
    }
  }
  pairs[lane] = mine;
  workgroupBarrier();
  for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
    if (lane < half) {
      pairs[lane] += pairs[lane + half];
    }
    workgroupBarrier();
  }
  if (lane == 0u) {
    let loss = select(pairs[0].x / max(pairs[0].y, 1.0), pairs[0].x, params.weighted != 0u);
    loss_out[0] = loss;
    loss_out[1] = pairs[0].y;
    loss_sum[0] += loss * params.grad_scale;
  }
}

// Of row n: the highest logit, gradient scale / sum of exponentials, gradient scale.
fn row_factors(n: u32) -> vec3f {
  var scale = 0.0;
  if (labels[n] != IGNORED) {
    if (params.weighted == 0u) {
      scale = params.grad_scale / loss_out[1];
    } else {
      scale = params.grad_scale * weights[n];
    }
  }
  return vec3f(running[n].x, scale / running[n].y, scale);
}

@compute @workgroup_size(WORKGROUP)
fn gradient(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let n = group.x + group.y * groups.x;
  if (n >= params.N) {
    return;
  }
  let row = row_factors(n);
  let column = label_column(n);
  let start = n * params.width;
  for (var i = lane; i < params.width; i += WORKGROUP) {
    let p = exp(logits[start + i] - row.x) * row.y;
    logits[start + i] = select(p, p - row.z, i == column);
  }
}

@compute @workgroup_size(WORKGROUP)
fn gradient_vec4(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let n = group.x + group.y * groups.x;
  if (n >= params.N) {
    return;
  }
  let row = row_factors(n);
  let column = label_column(n);
  let count = params.width / 4u;
  let start = n * count;
  for (var i = lane; i < count; i += WORKGROUP) {
    let p = exp(logits4[start + i] - row.x) * row.y;
    let columns = vec4u(4u * i) + vec4u(0u, 1u, 2u, 3u);
    logits4[start + i] = select(p, p - row.z, columns == vec4u(column));
  }
}

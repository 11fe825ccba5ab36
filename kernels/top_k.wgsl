// Top k      values[n, j], ids[n, j] = the j-th highest of scores[n, :]; of equal scores the lower id comes first
//            log softmax  scores[n, v] = scores[n, v] - max - log(sum_v exp(scores[n, v] - max))
//            penalty      s < 0: s * penalty, else s / penalty, once for every id in the row's history
//
// Shapes     N rows, V columns; history [N, L], entries of V or more are no ids.
// Grid       log_softmax, top_k: one workgroup per row. penalize: one thread per entry of history. Folded over x and y.
// Entries    log_softmax  writes  scores, in place
//            penalize     writes  scores of the ids in history, in place
//            top_k        writes  values, ids; where a row has fewer than k numbers (NaN): the rest of values is NaN, ids 0
// Numerics   f32. Same input, same output: ties do not depend on the order of threads.
// Source     penalty: Keskar et al. 2019, arXiv:1909.05858, section 4.1, with the sign rule of Hugging Face transformers.
// Twins      lib/ops/top_k.ts, tests/ops/top_k_test.ts

struct Params {
  N: u32,
  V: u32,
  k: u32,
  L: u32,
  penalty: f32,
  nan_bits: u32, // NaN cannot be written as a constant in WGSL
}

const WORKGROUP: u32 = 128u;
const NONE: u32 = 0xffffffffu;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> scores: array<f32>;     // [N, V]
@group(0) @binding(2) var<storage, read> history: array<u32>;          // [N, L]
@group(0) @binding(3) var<storage, read> candidates: array<f32>;       // [N, V], scores as top_k reads them
@group(0) @binding(4) var<storage, read_write> values: array<f32>;     // [N, k]
@group(0) @binding(5) var<storage, read_write> ids: array<u32>;        // [N, k]

var<workgroup> lane_values: array<f32, WORKGROUP>;
var<workgroup> lane_ids: array<u32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn log_softmax(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let n = group.x + group.y * groups.x;
  if (n >= params.N) {
    return;
  }
  let start = n * params.V;
  var highest = -3.4e38;
  for (var v = lane; v < params.V; v += WORKGROUP) {
    highest = max(highest, scores[start + v]);
  }
  lane_values[lane] = highest;
  workgroupBarrier();
  for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
    if (lane < half) {
      lane_values[lane] = max(lane_values[lane], lane_values[lane + half]);
    }
    workgroupBarrier();
  }
  highest = lane_values[0];
  workgroupBarrier();
  var sum = 0.0;
  for (var v = lane; v < params.V; v += WORKGROUP) {
    sum += exp(scores[start + v] - highest);
  }
  lane_values[lane] = sum;
  workgroupBarrier();
  for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
    if (lane < half) {
      lane_values[lane] += lane_values[lane + half];
    }
    workgroupBarrier();
  }
  let normaliser = log(lane_values[0]);
  for (var v = lane; v < params.V; v += WORKGROUP) {
    // In two steps: highest + normaliser would round to the larger of the two.
    scores[start + v] = (scores[start + v] - highest) - normaliser;
  }
}

@compute @workgroup_size(WORKGROUP)
fn penalize(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = (group.x + group.y * groups.x) * WORKGROUP + lane;
  if (index >= params.N * params.L) {
    return;
  }
  let n = index / params.L;
  let id = history[index];
  var first = n * params.L;
  while (history[first] != id) {
    first++;
  }
  // An id that occurs twice is penalised by its first occurrence alone.
  if (id < params.V && first == index) {
    let score = scores[n * params.V + id];
    scores[n * params.V + id] = select(score / params.penalty, score * params.penalty, score < 0.0);
  }
}

fn is_better(value: f32, id: u32, than_value: f32, than_id: u32) -> bool {
  return id != NONE && (than_id == NONE || value > than_value || (value == than_value && id < than_id));
}

@compute @workgroup_size(WORKGROUP)
fn top_k(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let n = group.x + group.y * groups.x;
  if (n >= params.N) {
    return;
  }
  let start = n * params.V;
  var last_value = 0.0;
  var last_id = NONE;
  var value = 0.0;
  var id = NONE;
  for (var j = 0u; j < params.k; j++) {
    // Each lane holds the best of its columns that come after the last one taken; only its former owner looks again.
    if (j == 0u || id == last_id) {
      id = NONE;
      for (var v = lane; v < params.V; v += WORKGROUP) {
        let score = candidates[start + v];
        let is_number = (bitcast<u32>(score) & 0x7fffffffu) <= 0x7f800000u;
        let is_left = j == 0u || is_better(last_value, last_id, score, v);
        if (is_number && is_left && (id == NONE || score > value)) {
          value = score;
          id = v;
        }
      }
    }
    lane_values[lane] = value;
    lane_ids[lane] = id;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
      if (lane < half) {
        let other = lane + half;
        if (is_better(lane_values[other], lane_ids[other], lane_values[lane], lane_ids[lane])) {
          lane_values[lane] = lane_values[other];
          lane_ids[lane] = lane_ids[other];
        }
      }
      workgroupBarrier();
    }
    last_value = lane_values[0];
    last_id = lane_ids[0];
    workgroupBarrier();
    if (lane == 0u) {
      let found = last_id != NONE;
      values[n * params.k + j] = select(bitcast<f32>(params.nan_bits), last_value, found);
      ids[n * params.k + j] = select(0u, last_id, found);
    }
  }
}

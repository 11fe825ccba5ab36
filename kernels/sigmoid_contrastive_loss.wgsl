// Sigmoid    logit[i, j] = sim[i, j] * exp(scale) + bias;  z = 1 on the diagonal, else -1
// contrast   loss = -1/B * sum over i, j of log(sigmoid(z * logit))
//            dlogit = -z * sigmoid(-z * logit) * grad_scale / B
//
// Shapes     sim [B, B]: dot products of image i and text j. B images and as many texts.
// Grid       pairs: one workgroup per image, folded over x and y. total: one workgroup.
// Entries    pairs  writes  dsim = dlogit * exp(scale) over sim, in place; sums[i] = loss, dscale, dbias of the row
//            total  writes or adds to (params.add) result[0]: factor * the sum of one column of sums
// Numerics   f32; log(1 + e) as a series where e is small, so that confident pairs count exactly.
// Source     Zhai et al. 2023, arXiv:2303.15343, algorithm 1.
// Twins      lib/ops/sigmoid_contrastive_loss.ts, tests/ops/sigmoid_contrastive_loss_test.ts

struct Params {
  B: u32,
  column: u32,
  factor: f32,
  grad_scale: f32,
  add: u32,
}

const WORKGROUP: u32 = 64u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> sim: array<f32>;        // [B, B]
@group(0) @binding(2) var<storage, read> logit_scale: array<f32>;      // [1], a logarithm
@group(0) @binding(3) var<storage, read> logit_bias: array<f32>;       // [1]
@group(0) @binding(4) var<storage, read_write> sums: array<vec4f>;     // [B]
@group(0) @binding(5) var<storage, read_write> result: array<f32>;     // [1]

var<workgroup> partial: array<vec4f, WORKGROUP>;

fn sum_over_workgroup(value: vec4f, lane: u32) -> vec4f {
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

// log(1 + exp(x))
fn softplus(x: f32) -> f32 {
  let e = exp(-abs(x));
  let series = e * (1.0 - e * (0.5 - e * (1.0 / 3.0 - e * 0.25)));
  return max(x, 0.0) + select(log(1.0 + e), series, e < 0.03);
}

@compute @workgroup_size(WORKGROUP)
fn pairs(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = group.x + group.y * groups.x;
  if (i >= params.B) {
    return;
  }
  let temperature = exp(logit_scale[0]);
  var row = vec4f(0.0);
  for (var j = lane; j < params.B; j += WORKGROUP) {
    let z = select(-1.0, 1.0, i == j);
    let scaled = sim[i * params.B + j] * temperature;
    let x = z * (scaled + logit_bias[0]);
    // sigmoid(-x) without overflow: exp of the negative magnitude only.
    let e = exp(-abs(x));
    let miss = select(1.0, e, x > 0.0) / (1.0 + e);
    let dlogit = -z * miss * params.grad_scale / f32(params.B);
    row += vec4f(softplus(-x), dlogit * scaled, dlogit, 0.0);
    sim[i * params.B + j] = dlogit * temperature;
  }
  let whole = sum_over_workgroup(row, lane);
  if (lane == 0u) {
    sums[i] = whole;
  }
}

@compute @workgroup_size(WORKGROUP)
fn total(@builtin(local_invocation_index) lane: u32) {
  var mine = vec4f(0.0);
  for (var i = lane; i < params.B; i += WORKGROUP) {
    mine += sums[i];
  }
  let whole = sum_over_workgroup(mine, lane);
  if (lane == 0u) {
    let value = whole[params.column] * params.factor;
    result[0] = select(value, result[0] + value, params.add == 1u);
  }
}

// GELU       y = x * P(x), P the normal distribution function, exactly, by a hyperbolic tangent, or by a logistic function:
//            erf    P(x) = (1 + erf(x / sqrt(2))) / 2
//            tanh   P(x) = (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2
//            quick  P(x) = 1 / (1 + exp(-1.702 x))
//
// Shapes     count groups of four elements of any shape, the last one padded.
// Grid       one thread per four elements, workgroups folded over x and y.
// Entries    forward_erf, forward_tanh, forward_quick     write y
//            backward_erf, backward_tanh, backward_quick  write or add to (params.add) dx
// Numerics   f32; P is within 1.5e-7 of the exact one, and its tail, computed from erfc, does not cancel.
// Source     Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2;
//            Abramowitz & Stegun 1964, formulas 7.1.5 and 7.1.26.
// Twins      lib/ops/gelu.ts, tests/ops/gelu_test.ts

struct Params {
  count: u32,
  add: u32,
}

const WORKGROUP: u32 = 64u;
const SQRT_2_OVER_PI: f32 = 0.7978845608028654;
const SQRT_HALF: f32 = 0.7071067811865476;
const INVERSE_SQRT_2_PI: f32 = 0.3989422804014327;
const QUICK: f32 = 1.702;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;         // [count]
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;   // [count]
@group(0) @binding(3) var<storage, read> dy: array<vec4f>;        // [count]
@group(0) @binding(4) var<storage, read_write> dx: array<vec4f>;  // [count]

// By its series below 1, where it rounds least, and by its tail beyond.
fn normal_distribution(value: vec4f) -> vec4f {
  let u = 0.5 * value * value;
  let series = 1.0 - u * (1.0 / 3.0 - u * (1.0 / 10.0 - u * (1.0 / 42.0 - u * (1.0 / 216.0 -
    u * (1.0 / 1320.0 - u * (1.0 / 9360.0 - u * (1.0 / 75600.0)))))));
  let t = 1.0 / (1.0 + 0.3275911 * SQRT_HALF * abs(value));
  let polynomial = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  let tail = 0.5 * polynomial * exp(-u);
  let far = select(tail, 1.0 - tail, value > vec4f(0.0));
  return select(far, 0.5 + INVERSE_SQRT_2_PI * value * series, abs(value) < vec4f(1.0));
}

// Some drivers compute tanh from exponentials that overflow, and tanh(15) is 1 in f32.
fn bounded_tanh(value: vec4f) -> vec4f {
  return tanh(clamp(value, vec4f(-15.0), vec4f(15.0)));
}

@compute @workgroup_size(WORKGROUP)
fn forward_erf(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.x + group.y * groups.x) * WORKGROUP + lane;
  if (i >= params.count) {
    return;
  }
  y[i] = x[i] * normal_distribution(x[i]);
}

@compute @workgroup_size(WORKGROUP)
fn forward_tanh(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.x + group.y * groups.x) * WORKGROUP + lane;
  if (i >= params.count) {
    return;
  }
  let value = x[i];
  let inner = SQRT_2_OVER_PI * (value + 0.044715 * value * value * value);
  y[i] = 0.5 * value * (1.0 + bounded_tanh(inner));
}

@compute @workgroup_size(WORKGROUP)
fn backward_erf(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.x + group.y * groups.x) * WORKGROUP + lane;
  if (i >= params.count) {
    return;
  }
  let value = x[i];
  let density = INVERSE_SQRT_2_PI * exp(-0.5 * value * value);
  var gradient = dy[i] * (normal_distribution(value) + value * density);
  if (params.add == 1u) {
    gradient += dx[i];
  }
  dx[i] = gradient;
}

@compute @workgroup_size(WORKGROUP)
fn backward_tanh(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.x + group.y * groups.x) * WORKGROUP + lane;
  if (i >= params.count) {
    return;
  }
  let value = x[i];
  let tangent = bounded_tanh(SQRT_2_OVER_PI * (value + 0.044715 * value * value * value));
  // Beyond 20 the factor beside it is 0, and an infinite square would make that not a number.
  let bounded = clamp(value, vec4f(-20.0), vec4f(20.0));
  let slope = SQRT_2_OVER_PI * (1.0 + 0.134145 * bounded * bounded);
  var gradient = dy[i] * 0.5 * (1.0 + tangent + bounded * slope * (1.0 - tangent * tangent));
  if (params.add == 1u) {
    gradient += dx[i];
  }
  dx[i] = gradient;
}

// exp overflows at 89; below -80 the logistic function is less than 2e-35, which a huge x would bring back.
fn logistic(value: vec4f) -> vec4f {
  let share = 1.0 / (1.0 + exp(-clamp(value, vec4f(-80.0), vec4f(80.0))));
  return select(share, vec4f(), value < vec4f(-80.0));
}

@compute @workgroup_size(WORKGROUP)
fn forward_quick(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.x + group.y * groups.x) * WORKGROUP + lane;
  if (i >= params.count) {
    return;
  }
  y[i] = x[i] * logistic(QUICK * x[i]);
}

@compute @workgroup_size(WORKGROUP)
fn backward_quick(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.x + group.y * groups.x) * WORKGROUP + lane;
  if (i >= params.count) {
    return;
  }
  let value = clamp(x[i], vec4f(-60.0), vec4f(60.0));
  let share = logistic(QUICK * value);
  var gradient = dy[i] * share * (1.0 + QUICK * value * (1.0 - share));
  if (params.add == 1u) {
    gradient += dx[i];
  }
  dx[i] = gradient;
}

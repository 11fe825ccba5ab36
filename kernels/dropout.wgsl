// Dropout    y[i] = keep(i) ? x[i] / (1 - rate) : 0        dx[i] = keep(i) ? dy[i] / (1 - rate) : 0
//            keep(i) = bits(seed, step, site, i) >= rate * 2^32, recomputed wherever it is needed, never stored
//
// Shapes     count groups of four elements of any shape, the last one padded.
// Grid       one thread per four elements, workgroups folded over x and y.
// Entries    forward   writes  y from x
//            backward  writes or adds to (params.add) y from x, being called with dy as x and dx as y
// Numerics   f32; integers are exact, so every adapter drops the same elements.
// Source     Srivastava et al. 2014, JMLR 15; Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"
//            (Philox4x32-10; key = seed, 0; counter = group of four, site, step, 0).
// Twins      lib/ops/dropout.ts, tests/ops/dropout_test.ts

struct Params {
  count: u32,
  threshold: u32,  // rate * 2^32
  scale: f32,      // 1 / (1 - rate)
  site: u32,
  add: u32,
}

const WORKGROUP: u32 = 64u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> seed: array<u32>;       // [2]: seed, step
@group(0) @binding(2) var<storage, read> x: array<vec4f>;        // [count]
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;  // [count]

// Upper half of the 64-bit product; WGSL has no such instruction.
fn multiply_high(a: u32, b: u32) -> u32 {
  let a0 = a & 0xffffu;
  let a1 = a >> 16u;
  let b0 = b & 0xffffu;
  let b1 = b >> 16u;
  let middle = a1 * b0 + ((a0 * b0) >> 16u);
  let other = a0 * b1 + (middle & 0xffffu);
  return a1 * b1 + (middle >> 16u) + (other >> 16u);
}

fn philox(start: vec4u, start_key: vec2u) -> vec4u {
  var counter = start;
  var key = start_key;
  for (var round = 0u; round < 10u; round++) {
    let high0 = multiply_high(0xD2511F53u, counter.x);
    let high1 = multiply_high(0xCD9E8D57u, counter.z);
    counter = vec4u(
      high1 ^ counter.y ^ key.x,
      0xCD9E8D57u * counter.z,
      high0 ^ counter.w ^ key.y,
      0xD2511F53u * counter.x,
    );
    key += vec2u(0x9E3779B9u, 0xBB67AE85u);
  }
  return counter;
}

fn drop(i: u32, value: vec4f) -> vec4f {
  let bits = philox(vec4u(i, params.site, seed[1], 0u), vec2u(seed[0], 0u));
  return select(vec4f(0.0), value * params.scale, bits >= vec4u(params.threshold));
}

@compute @workgroup_size(WORKGROUP)
fn forward(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.x + group.y * groups.x) * WORKGROUP + lane;
  if (i >= params.count) {
    return;
  }
  y[i] = drop(i, x[i]);
}

@compute @workgroup_size(WORKGROUP)
fn backward(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.x + group.y * groups.x) * WORKGROUP + lane;
  if (i >= params.count) {
    return;
  }
  var gradient = drop(i, x[i]);
  if (params.add == 1u) {
    gradient += y[i];
  }
  y[i] = gradient;
}

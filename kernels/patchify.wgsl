// Patchify   patches[b, i*Wp + j, (c*p + y)*p + x] = pixels[b, c, i*p + y, j*p + x]
//            the rows of a convolution whose stride is its size p, as a matrix (im2col without overlap)
//
// Shapes     pixels [B, C, H, W]; patches [B, Hp*Wp, C*p*p], Hp = floor(H/p), Wp = floor(W/p): pixels right of and below
//            the last whole patch are ignored.
// Grid       forward: one thread per element of patches; backward: one per element of pixels; workgroups folded over x, y.
// Entries    forward   writes  patches
//            backward  writes or adds to (params.add) dpixels; ignored pixels get 0
// Numerics   moves only.
// Source     Dosovitskiy et al. 2020, arXiv:2010.11929, section 3.1; column order: a weight [Dv, C, p, p] flattened.
// Twins      lib/ops/patchify.ts, tests/ops/patchify_test.ts

struct Params {
  B: u32,
  C: u32,
  H: u32,
  W: u32,
  patch_size: u32,
  add: u32,
}

const WORKGROUP: u32 = 64u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> pixels: array<f32>;           // [B, C, H, W]
@group(0) @binding(2) var<storage, read_write> patches: array<f32>;    // [B, Hp*Wp, C*p*p]
@group(0) @binding(3) var<storage, read> dpatches: array<f32>;         // [B, Hp*Wp, C*p*p]
@group(0) @binding(4) var<storage, read_write> dpixels: array<f32>;    // [B, C, H, W]

@compute @workgroup_size(WORKGROUP)
fn forward(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let p = params.patch_size;
  let Wp = params.W / p;
  let count = (params.H / p) * Wp;
  let columns = params.C * p * p;
  let index = (group.x + group.y * groups.x) * WORKGROUP + lane;
  if (index >= params.B * count * columns) {
    return;
  }
  let column = index % columns;
  let row = index / columns;
  let b = row / count;
  let i = (row % count) / Wp;
  let j = (row % count) % Wp;
  let c = column / (p * p);
  let y = (column / p) % p;
  let x = column % p;
  patches[index] = pixels[((b * params.C + c) * params.H + i * p + y) * params.W + j * p + x];
}

@compute @workgroup_size(WORKGROUP)
fn backward(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let p = params.patch_size;
  let Hp = params.H / p;
  let Wp = params.W / p;
  let index = (group.x + group.y * groups.x) * WORKGROUP + lane;
  if (index >= params.B * params.C * params.H * params.W) {
    return;
  }
  let w = index % params.W;
  let h = (index / params.W) % params.H;
  let c = (index / (params.W * params.H)) % params.C;
  let b = index / (params.W * params.H * params.C);
  var gradient = 0.0;
  if (h < Hp * p && w < Wp * p) {
    let row = (b * Hp + h / p) * Wp + w / p;
    gradient = dpatches[((row * params.C + c) * p + h % p) * p + w % p];
  }
  dpixels[index] = select(gradient, dpixels[index] + gradient, params.add == 1u);
}

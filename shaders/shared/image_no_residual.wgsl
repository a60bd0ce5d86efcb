// Stands in for image_residual.wgsl where nothing is added: bound is a buffer that no kernel comes to read.

@group(0) @binding(RESIDUAL) var<storage, read> residual: array<vec4<f32>>;

fn load_residual(texel: u32) -> vec4<f32> {
    return residual[0];
}

// Reads a texel of what is added to a convolution's sums (image.wgsl), which has the binding RESIDUAL.

@group(0) @binding(RESIDUAL) var residual: texture_storage_2d_array<rgba32float, read>;

fn load_residual(texel: u32) -> vec4<f32> {
    let place = place_of(texel, textureDimensions(residual).y);
    return textureLoad(residual, place.xy, place.z);
}

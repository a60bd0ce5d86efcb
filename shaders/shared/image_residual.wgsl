// Reads a texel of what is added to a convolution's sums (image.wgsl).
fn load_residual(texel: u32) -> vec4<f32> {
    let place = place_of(texel, textureDimensions(residual).y);
    return textureLoad(residual, place.xy, place.z);
}

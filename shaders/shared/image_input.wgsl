// Reads a texel of a kernel's input (image.wgsl).
fn load_input(texel: u32) -> vec4<f32> {
    let place = place_of(texel, textureDimensions(input).y);
    return textureLoad(input, place.xy, place.z);
}

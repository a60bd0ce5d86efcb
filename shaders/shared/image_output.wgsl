// Writes a texel of a kernel's output (image.wgsl).
fn store_output(texel: u32, value: vec4<f32>) {
    let place = place_of(texel, textureDimensions(output).y);
    textureStore(output, place.xy, place.z, value);
}

// Writes a texel of a kernel's output (image.wgsl), which has the binding OUTPUT.

@group(0) @binding(OUTPUT) var output: texture_storage_2d_array<rgba32float, write>;

fn store_output(texel: u32, value: vec4<f32>) {
    let place = place_of(texel, textureDimensions(output).y);
    textureStore(output, place.xy, place.z, value);
}

// Reads a texel of a kernel's input (image.wgsl).

@group(0) @binding(1) var input: texture_storage_2d_array<rgba32float, read>;

fn load_input(texel: u32) -> vec4<f32> {
    let place = place_of(texel, textureDimensions(input).y);
    return textureLoad(input, place.xy, place.z);
}

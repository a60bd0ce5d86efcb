// Reads a texel of a kernel's input (image.wgsl) as image_input.wgsl does, for kernels that load at many places. llvmpipe
// compiles a load from a sampled texture as a function, once, and one from a storage texture anew for each place.

@group(0) @binding(1) var input: texture_2d_array<f32>;

fn load_input(texel: u32) -> vec4<f32> {
    let place = place_of(texel, textureDimensions(input).y);
    return textureLoad(input, place.xy, place.z, 0);
}

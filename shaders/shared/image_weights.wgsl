// The weights of a tap, read by each invocation for itself.

fn fetch(w: u32, lane: u32) {}

// Those of the f-th texel of filters, whose block starts at this texel: a column per channel, a row per filter.
fn weights_of(w: u32, f: u32) -> mat4x4<f32> {
    let at = w + 4u * f;
    return mat4x4(
        textureLoad(weight, texel_at(at)),
        textureLoad(weight, texel_at(at + 1u)),
        textureLoad(weight, texel_at(at + 2u)),
        textureLoad(weight, texel_at(at + 3u)),
    );
}

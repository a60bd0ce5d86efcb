// Tests of the bits, because a compiler may assume that floats are finite.

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

fn is_infinite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) == 0x7f800000u;
}

fn is_nan4(x: vec4<f32>) -> vec4<bool> {
    return vec4(is_nan(x.x), is_nan(x.y), is_nan(x.z), is_nan(x.w));
}

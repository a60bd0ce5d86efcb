// The first of what is read together.
fn first_of(x: vec4<f32>) -> f32 {
    return x.x;
}

// A partial result and what is read together as one.
fn fold(kind: u32, result: f32, x: vec4<f32>, shift: f32) -> f32 {
    let low = combine(kind, term(kind, x.x, shift), term(kind, x.y, shift));
    let high = combine(kind, term(kind, x.z, shift), term(kind, x.w, shift));
    return combine(kind, result, combine(kind, low, high));
}

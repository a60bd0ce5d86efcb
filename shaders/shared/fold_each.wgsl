// The first of what is read together.
fn first_of(x: f32) -> f32 {
    return x;
}

// A partial result and what is read together as one.
fn fold(kind: u32, result: f32, x: f32, shift: f32) -> f32 {
    return combine(kind, result, term(kind, x, shift));
}

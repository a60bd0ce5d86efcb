fn zip(a: f32, b: f32) -> f32 {
    return apply(a, b);
}

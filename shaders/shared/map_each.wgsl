fn map(x: f32) -> f32 {
    return activate(x);
}

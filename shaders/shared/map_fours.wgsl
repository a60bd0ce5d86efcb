fn map(x: vec4<f32>) -> vec4<f32> {
    return vec4(activate(x.x), activate(x.y), activate(x.z), activate(x.w));
}

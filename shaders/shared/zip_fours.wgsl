fn zip(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return vec4(apply(a.x, b.x), apply(a.y, b.y), apply(a.z, b.z), apply(a.w, b.w));
}

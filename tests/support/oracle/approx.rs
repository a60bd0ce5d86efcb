//! Numbers that carry a bound on the error an `f32` evaluation may have made (running error analysis;
//! Higham, *Accuracy and Stability of Numerical Algorithms*, section 3.3).
//!
//! Each operation adds the error it makes itself. The accuracies are those that the WGSL specification
//! requires of an implementation (section "Floating Point Accuracy"):
//!
//! | operation            | error of the result                                       |
//! |----------------------|-----------------------------------------------------------|
//! | `+ - *`              | correctly rounded (to nearest, as all known devices do)   |
//! | `/`                  | 2.5 ULP                                                   |
//! | `exp`, `exp2`        | (3 + 2·abs(x)) ULP                                        |
//! | `log`, `log2`        | 2⁻²¹ where x is in \[0.5, 2\], else 3 ULP                 |
//! | `inverseSqrt`        | 2 ULP                                                     |
//! | `sqrt`               | inherited from `1 / inverseSqrt(x)`: 4.5 ULP              |
//! | `pow`                | inherited from `exp2(y · log2(x))`                        |
//! | `tanh`               | 10⁻⁵                                                      |
//!
//! One ULP is at most 2 [`U`] of the number. A result below the normal range may also be flushed to 0.

use std::ops::{Add, Div, Mul, Neg, Sub};

use super::U;

/// A value, and how far an `f32` evaluation may lie from it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Approx {
    pub value: f64,
    pub error: f64,
}

/// What the oracle computes with: a number that is exact, or one that was itself computed.
pub trait Number: Copy + Into<Approx> {}

impl<T: Copy + Into<Approx>> Number for T {}

impl From<f32> for Approx {
    fn from(value: f32) -> Self {
        Self::exact(value)
    }
}

impl From<f64> for Approx {
    fn from(value: f64) -> Self {
        Self::exact(value)
    }
}

/// A sum of products while it is added up, in any order.
#[derive(Debug, Clone, Copy, Default)]
pub struct Products {
    value: f64,
    size: f64,
    inherited: f64,
    terms: usize,
}

impl Products {
    /// Adds `a · b`.
    pub fn add(&mut self, a: impl Into<Approx>, b: impl Into<Approx>) {
        let (a, b) = (a.into(), b.into());
        self.value += a.value * b.value;
        self.size += (a.value * b.value).abs();
        self.inherited += a.value.abs() * b.error + b.value.abs() * a.error + a.error * b.error;
        self.terms += 1;
    }

    /// How many products were added.
    pub fn terms(&self) -> usize {
        self.terms
    }

    /// The sum, and the magnitude which says with `terms` how far it may be off (see [`super::Answer`]).
    pub fn finish(&self, terms: usize) -> (f64, f64) {
        (self.value, self.size + self.inherited / (terms.max(1) as f64 * U))
    }

    /// An answer of such sums.
    pub fn answer(shape: Vec<usize>, terms: usize, sums: &[Products]) -> super::Answer {
        let (value, magnitude) = sums.iter().map(|sum| sum.finish(terms)).unzip();
        super::Answer { shape, value, magnitude, terms }
    }
}

/// The error of one operation with a result `value` that is accurate to `ulps`.
fn made(value: f64, ulps: f64) -> f64 {
    let flushed = if value.abs() < f64::from(f32::MIN_POSITIVE) { value.abs() } else { 0.0 };
    2.0 * ulps * U * value.abs() + flushed
}

/// Correct rounding to nearest.
const ROUNDED: f64 = 0.5;

impl Approx {
    /// A number that `f32` holds exactly, such as an input.
    pub fn exact(value: impl Into<f64>) -> Self {
        Self { value: value.into(), error: 0.0 }
    }

    /// A constant of a formula, rounded to `f32`.
    pub fn constant(value: f64) -> Self {
        Self { value, error: made(value, ROUNDED) }
    }

    /// The sum in any order: n terms are rounded at most n times each.
    pub fn sum(terms: impl IntoIterator<Item = Self>) -> Self {
        let (mut value, mut error, mut size, mut n) = (0.0, 0.0, 0.0, 0.0);
        for term in terms {
            value += term.value;
            error += term.error;
            size += term.value.abs();
            n += 1.0;
        }
        Self { value, error: error + n * U * size }
    }

    pub fn abs(self) -> Self {
        Self { value: self.value.abs(), ..self }
    }

    pub fn clamp(self, low: f64, high: f64) -> Self {
        Self { value: self.value.clamp(low, high), ..self }
    }

    pub fn exp(self) -> Self {
        let value = self.value.exp();
        if value == 0.0 {
            return Self::exact(0.0);
        }
        Self { value, error: value * self.error.exp_m1() + made(value, 3.0 + 2.0 * self.value.abs()) }
    }

    pub fn ln(self) -> Self {
        self.log_with(f64::ln, 1.0)
    }

    fn log2(self) -> Self {
        self.log_with(f64::log2, std::f64::consts::LOG2_E)
    }

    /// A logarithm whose derivative is `slope / x`.
    fn log_with(self, log: fn(f64) -> f64, slope: f64) -> Self {
        let value = log(self.value);
        let own =
            if (0.5..=2.0).contains(&self.value) { 1.0 / (1_u32 << 21) as f64 } else { made(value, 3.0) };
        let inherited =
            if self.error == 0.0 { 0.0 } else { slope * self.error / (self.value - self.error).max(0.0) };
        Self { value, error: inherited + own }
    }

    pub fn sqrt(self) -> Self {
        let value = self.value.sqrt();
        // sqrt(x) - sqrt(x - e), the larger side; where e reaches 0, sqrt may move by as much as sqrt(e).
        let inherited = if self.value > self.error {
            value - (self.value - self.error).sqrt()
        } else {
            (self.value + self.error).max(0.0).sqrt()
        };
        Self { value, error: inherited + made(value, 4.5) }
    }

    pub fn tanh(self) -> Self {
        Self { value: self.value.tanh(), error: self.moved(f64::tanh) + 1e-5 }
    }

    /// How far a monotone function moves where the argument is off by its error.
    fn moved(self, f: fn(f64) -> f64) -> f64 {
        if self.error == 0.0 {
            return 0.0;
        }
        let at = f(self.value);
        (f(self.value + self.error) - at).max(at - f(self.value - self.error))
    }

    /// `self` to the power `y`. A negative base takes integers only, with the magnitude's error.
    pub fn pow(self, y: f64) -> Self {
        let value = self.value.powf(y);
        if value == 0.0 || !value.is_finite() || y == 0.0 {
            return Self::exact(value);
        }
        let exponent = self.abs().log2() * Self::exact(y);
        let inherited = value.abs() * (exponent.error * std::f64::consts::LN_2).exp_m1();
        Self { value, error: inherited + made(value, 3.0 + 2.0 * exponent.value.abs()) }
    }

    /// The error function. WGSL has none; a kernel approximates it as Abramowitz and Stegun 7.1.26 do:
    /// `1 - poly(t) exp(-x²)` to 1.5·10⁻⁷, with the rounding of that formula.
    pub fn erf(self) -> Self {
        let value = erf(self.value);
        let square = self.value * self.value;
        let complement = 1.0 - value.abs();
        let own = if complement == 0.0 { 0.0 } else { made(complement, 3.0 + 2.0 * square + 5.0) };
        Self { value, error: self.moved(erf) + 1.5e-7 + own + U }
    }
}

/// erf(x) = 2/√π · exp(-x²) · Σ 2ⁿ x²ⁿ⁺¹ / (1·3·…·(2n+1)) (DLMF 7.6.2), all of one sign; 1 - erf(6) < 3·10⁻¹⁷.
pub fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut n) = (x, x, 1.0);
    while term.abs() > sum.abs() * 1e-17 {
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
        n += 1.0;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

impl Add for Approx {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        let value = self.value + other.value;
        Self { value, error: self.error + other.error + made(value, ROUNDED) }
    }
}

impl Neg for Approx {
    type Output = Self;
    fn neg(self) -> Self {
        Self { value: -self.value, ..self }
    }
}

impl Sub for Approx {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Mul for Approx {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        let value = self.value * other.value;
        let inherited =
            self.value.abs() * other.error + other.value.abs() * self.error + self.error * other.error;
        Self { value, error: inherited + made(value, ROUNDED) }
    }
}

impl Div for Approx {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        if value == 0.0 && other.value.is_infinite() {
            return Self::exact(value);
        }
        let room = (other.value.abs() - other.error).max(0.0);
        let inherited = match self.error + value.abs() * other.error {
            0.0 => 0.0,
            disturbed => disturbed / room,
        };
        Self { value, error: inherited + made(value, 2.5) }
    }
}

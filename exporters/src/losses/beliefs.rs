//! What decode graphs say of an image beside the annotation: how sure the model is.
//!
//! All are float32, and right where a model is very sure and where it cannot tell: no logarithm of a zero is taken, and a margin is
//! no difference of two numbers that are nearly the same. What is not a number stays so.

use super::draft::Draft;
use isal_onnx::{DataType, Value};

/// How sure a choice among several answers is, `[N]` or of each pixel.
pub(crate) struct Sureness {
    /// Probability of the likeliest.
    pub confidence: Value,
    /// In nats.
    pub entropy: Value,
    /// How much likelier the likeliest is than the next.
    pub margin: Value,
}

impl Draft {
    /// Says that these, `[N]`, are what the model believes.
    pub fn give_sureness(&mut self, of: &Sureness) {
        for (name, value) in [("confidence", of.confidence), ("entropy", of.entropy), ("margin", of.margin)] {
            self.give_belief(name, value, DataType::Float);
        }
    }

    /// Of one class among those of axis 1, which goes: softmax.
    pub fn sureness_of_class(&mut self, classes: usize) -> Sureness {
        let logarithms = self.log_softmax(classes);
        let probabilities = self.op("Exp", [logarithms]);
        let weighted = self.op("Mul", [probabilities, logarithms]);
        let (zero, mean) = (self.number(0.0), self.sum(weighted, 1, false));
        // Not Neg: the entropy of what is certain is 0, not -0.
        let entropy = self.op("Sub", [zero, mean]);
        if classes < 2 {
            let confidence = self.sum(probabilities, 1, false);
            return Sureness { confidence, entropy, margin: confidence };
        }
        let [best, _] = self.top(probabilities, 2);
        let confidence = self.pair_sum(best, "first", [1.0, 0.0]);
        let both = self.sum(best, 1, false);
        let [scores, _] = self.top(self.outputs, 2);
        let half = self.pair_sum(scores, "half_difference", [0.5, -0.5]);
        Sureness { confidence, entropy, margin: self.margin(both, half) }
    }

    /// `weights` times the two numbers along axis 1, which goes.
    fn pair_sum(&mut self, two: Value, stem: &str, weights: [f32; 2]) -> Value {
        let weights = self.classes(stem, &weights, self.shape.len());
        let weighted = self.op("Mul", [two, weights]);
        self.sum(weighted, 1, false)
    }

    /// Of a labelling as a whole, yes or no for each class of axis 1 (if there is one), independent of each other: sigmoid.
    pub fn sureness_of_labelling(&mut self) -> Sureness {
        let several = self.shape.len() > 1;
        // Of each class the likelier answer has the probability sigmoid(|x|), the other e^-|x| times that.
        let size = self.op("Abs", [self.outputs]);
        let against = self.op("Neg", [size]);
        let (unlikely, surprise) = (self.op("Sigmoid", [against]), self.op("Softplus", [against]));
        // The entropy p s + (1 - p) (s + |x|), where s = -log p and 1 - p is the unlikely answer's.
        let beyond = self.op("Mul", [unlikely, size]);
        let entropy = self.op("Add", [surprise, beyond]);
        let (surprise, entropy, least) = match several {
            true => (self.sum(surprise, 1, false), self.sum(entropy, 1, false), self.smallest(size)),
            false => (surprise, entropy, size),
        };
        let surprise = self.op("Neg", [surprise]);
        let confidence = self.op("Exp", [surprise]);
        // The next likeliest labelling answers otherwise where the model is least sure.
        let behind = self.op("Neg", [least]);
        let ratio = self.op("Exp", [behind]);
        let next = self.op("Mul", [confidence, ratio]);
        let both = self.op("Add", [confidence, next]);
        let half = self.number(0.5);
        let half = self.op("Mul", [least, half]);
        Sureness { confidence, entropy, margin: self.margin(both, half) }
    }

    /// p - q of two probabilities, from p + q and half of log(p / q): `(p + q) tanh(log(p / q) / 2)`. Where they are nearly the
    /// same, their difference would be rounding alone.
    fn margin(&mut self, both: Value, half: Value) -> Value {
        let apart = self.op("Tanh", [half]);
        self.op("Mul", [both, apart])
    }
}

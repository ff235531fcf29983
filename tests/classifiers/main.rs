//! Classifiers in the forms in which people have them: each gives the scores of the plain model, or is refused with exit
//! code 2 and what to do.

mod forms;
#[path = "../score_pool/lenet.rs"]
mod lenet;
mod names;
mod place;
mod refused;

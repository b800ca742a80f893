//! Values known to be equal within a statement, and what they can be. A class is a set of columns that hold the same value in
//! every row that matters; it may follow another class, taking its values from there.

use super::slot::Slot;

/// A class, by number.
pub type Class = usize;

/// All classes of one statement.
#[derive(Clone, Debug, Default)]
pub struct Classes {
    /// The class it was united with.
    same_as: Vec<Class>,
    /// Of a class that is united with no other: each entry lists what the value must be one of.
    ties: Vec<Vec<Vec<Slot>>>,
    /// The classes it follows: its values are among theirs.
    follows: Vec<Vec<Class>>,
}

impl Classes {
    /// A class nothing is known of.
    pub fn add(&mut self) -> Class {
        self.same_as.push(self.same_as.len());
        self.ties.push(Vec::new());
        self.follows.push(Vec::new());
        self.same_as.len() - 1
    }

    /// The class that stands for all united with this one.
    pub fn find(&self, mut class: Class) -> Class {
        while self.same_as[class] != class {
            class = self.same_as[class];
        }
        class
    }

    /// Both hold the same value.
    pub fn unite(&mut self, one: Class, other: Class) {
        let (one, other) = (self.find(one), self.find(other));
        if one == other {
            return;
        }
        self.same_as[other] = one;
        let ties = std::mem::take(&mut self.ties[other]);
        self.ties[one].extend(ties);
        let follows = std::mem::take(&mut self.follows[other]);
        self.follows[one].extend(follows);
    }

    /// The value is one of these.
    pub fn tie(&mut self, class: Class, one_of: Vec<Slot>) {
        let class = self.find(class);
        self.ties[class].push(one_of);
    }

    /// The first takes its values from the second.
    pub fn follow(&mut self, class: Class, leader: Class) {
        let class = self.find(class);
        self.follows[class].push(leader);
    }

    /// Is one the same as the other, or does it follow it?
    pub fn is_aligned(&self, class: Class, leader: Class) -> bool {
        let leader = self.find(leader);
        self.above(class).contains(&leader)
    }

    /// All that the class is tied to, by itself and by what it follows.
    pub fn all_ties(&self, class: Class) -> Vec<Vec<Slot>> {
        let mut ties: Vec<Vec<Slot>> = Vec::new();
        for class in self.above(class) {
            for tie in &self.ties[class] {
                if !ties.contains(tie) {
                    ties.push(tie.clone());
                }
            }
        }
        ties
    }

    /// The class and all it follows, each once.
    fn above(&self, class: Class) -> Vec<Class> {
        let mut seen = vec![self.find(class)];
        let mut next = 0;
        while next < seen.len() {
            for &leader in &self.follows[seen[next]] {
                let leader = self.find(leader);
                if !seen.contains(&leader) {
                    seen.push(leader);
                }
            }
            next += 1;
        }
        seen
    }
}

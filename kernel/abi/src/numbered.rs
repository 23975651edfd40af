//! Enums that are numbers elsewhere: in registers, in messages, in tables.

/// Declares an enum of numbered variants and, from the same lines, `ALL`, the variants in
/// order, `COUNT`, how many there are, and `from_number`.
///
/// So a variant cannot be missing where numbers are decoded. The numbers are
/// written down, because programs of another build may use them; numbers that do not follow
/// each other, whatever the first is, do not compile:
///
/// ```compile_fail,E0080
/// abi::numbered! {
///     /// Two, with a gap between them.
///     #[repr(u8)]
///     pub enum Gap {
///         /// The first.
///         A = 0,
///         /// The third.
///         B = 2,
///     }
/// }
/// ```
#[macro_export]
macro_rules! numbered {
    (
        $(#[doc = $words:literal])*
        #[repr($repr:ident)]
        $vis:vis enum $name:ident {
            $( $(#[doc = $of:literal])* $variant:ident = $number:literal, )+
        }
    ) => {
        $(#[doc = $words])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr($repr)]
        $vis enum $name {
            $( $(#[doc = $of])* $variant = $number, )+
        }

        impl $name {
            /// How many there are.
            pub const COUNT: usize = [$($number),+].len();

            /// All of them, in order of their numbers.
            pub const ALL: [$name; Self::COUNT] = [$($name::$variant),+];

            /// The one with this number.
            #[inline]
            pub const fn from_number(number: $repr) -> Option<$name> {
                match number {
                    $( $number => Some($name::$variant), )+
                    _ => None,
                }
            }
        }

        const _: () = {
            let all = $name::ALL;
            let mut index = 0;
            while index < all.len() {
                assert!(
                    all[index] as usize == all[0] as usize + index,
                    "the numbers follow each other"
                );
                index += 1;
            }
        };
    };
}

#[cfg(test)]
mod tests {
    crate::numbered! {
        /// For the test.
        #[repr(u8)]
        pub enum Letter {
            /// The first.
            A = 3,
            /// The second.
            B = 4,
        }
    }

    #[test]
    fn what_is_declared_is_listed() {
        assert_eq!(Letter::COUNT, 2);
        assert_eq!(Letter::ALL, [Letter::A, Letter::B]);
        assert_eq!(Letter::B as u8, 4);
        assert_eq!(Letter::from_number(4), Some(Letter::B));
        assert_eq!(Letter::from_number(2), None);
    }
}

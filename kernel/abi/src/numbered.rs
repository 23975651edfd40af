//! Enums that are numbers elsewhere: in registers, in messages, in tables.

/// Declares an enum of numbered variants and, from the same lines, `ALL`, the variants in order,
/// `COUNT`, how many there are, and `from_number`; if each variant is followed by words for people
/// (`Idle = 0 => "idle"`), also `name` and `FromStr`.
///
/// So no variant can be missing where numbers are decoded or shown. The numbers are written down,
/// because programs of another build may use them. Numbers that do not follow each other, whatever
/// the first is, do not compile:
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
            $( $(#[doc = $of:literal])* $variant:ident = $number:literal => $title:literal, )+
        }
    ) => {
        $crate::numbered! {
            $(#[doc = $words])*
            #[repr($repr)]
            $vis enum $name {
                $( $(#[doc = $of])* $variant = $number, )+
            }
        }

        impl $name {
            /// What it is called, for people.
            pub const fn name(self) -> &'static str {
                match self {
                    $( $name::$variant => $title, )+
                }
            }
        }

        impl core::str::FromStr for $name {
            type Err = ();

            fn from_str(name: &str) -> core::result::Result<Self, ()> {
                let mut all = Self::ALL.into_iter();
                all.find(|one| one.name() == name).ok_or(())
            }
        }
    };
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

        impl $crate::wire::Wire for $name {
            const SIZE: usize = size_of::<$repr>();

            fn write(&self, writer: &mut $crate::wire::Writer<'_>) {
                writer.$repr(*self as $repr);
            }

            fn read(reader: &mut $crate::wire::Reader<'_>) -> $crate::Result<Self> {
                Self::from_number(reader.$repr()?).ok_or($crate::Error::Malformed)
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
            A = 3 => "alpha",
            /// The second.
            B = 4 => "beta",
        }
    }

    #[test]
    fn what_is_declared_is_listed() {
        assert_eq!(Letter::COUNT, 2);
        assert_eq!(Letter::ALL, [Letter::A, Letter::B]);
        assert_eq!(Letter::B as u8, 4);
        assert_eq!(Letter::from_number(4), Some(Letter::B));
        assert_eq!(Letter::from_number(2), None);
        assert_eq!(Letter::A.name(), "alpha");
        assert_eq!("beta".parse(), Ok(Letter::B));
        assert_eq!("gamma".parse::<Letter>(), Err(()));
    }
}

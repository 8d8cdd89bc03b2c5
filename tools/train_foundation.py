"""Trains the default model's frozen parts: python tools/train_foundation.py root=data/foundation"""

from samwise.foundation.main import main

if __name__ == "__main__":
    main()

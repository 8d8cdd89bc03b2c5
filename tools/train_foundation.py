"""Trains the frozen parts of the default model: python tools/train_foundation.py root=data/foundation"""

from samwise.foundation.main import main

if __name__ == "__main__":
    main()

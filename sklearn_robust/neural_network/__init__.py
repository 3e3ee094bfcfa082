"""neural_network"""
